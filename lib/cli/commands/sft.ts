import { defineCommand } from '../command.ts';
import { configArgs, configNotes, onlyPreview } from './configuration.ts';
import { reportedRun } from './reportedRun.ts';

export const sft = defineCommand({
  description: 'train a policy on demonstrations, or go on where a run stopped',
  args: configArgs,
  notes: configNotes,
  overridable: true,
  stoppable: true,
  async run(values, io, overrides) {
    const [{ readSftConfig }, { previewSft }, room] = await Promise.all([
      import('../../train/readConfig.ts'),
      import('../../train/preview.ts'),
      import('../../train/sft.ts'),
    ]);
    const read = readSftConfig(values.config, overrides);
    if (await onlyPreview(values, read, previewSft, io)) return 0;
    const { config } = read;
    const steps = config.phases.reduce((sum, phase) => sum + phase.steps, 0);
    return reportedRun(io, { dir: config.output, steps }, (reporter) => room.sft(config, reporter, io.signal));
  },
});
