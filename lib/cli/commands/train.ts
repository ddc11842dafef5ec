import { defineCommand } from '../command.ts';
import { configArgs, configNotes, onlyPreview } from './configuration.ts';
import { reportedRun } from './reportedRun.ts';

export const train = defineCommand({
  description: 'train a policy by reinforcement learning, or go on where a run stopped',
  args: {
    ...configArgs,
    'save-rollouts': { type: 'boolean', description: 'write every rollout with its text to rollouts.jsonl' },
  },
  notes: configNotes,
  overridable: true,
  stoppable: true,
  async run(values, io, overrides) {
    const [{ readTrainConfig }, { previewTrain }, room] = await Promise.all([
      import('../../train/readConfig.ts'),
      import('../../train/preview.ts'),
      import('../../train/train.ts'),
    ]);
    const read = readTrainConfig(values.config, overrides);
    if (await onlyPreview(values, read, previewTrain, io)) return 0;
    const { config } = read;
    const options = { dir: config.output, steps: config.train.steps, rollouts: values['save-rollouts'] };
    return reportedRun(io, options, (reporter) => room.train(config, reporter, io.signal));
  },
});
