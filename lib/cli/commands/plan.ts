import { formatPlan } from '../../report/plan.ts';
import { defineCommand } from '../command.ts';
import { configArgs, configNotes } from './configuration.ts';

export const plan = defineCommand({
  description: 'what a training run will take, memory and time by phase, before any of it runs',
  args: { config: configArgs.config },
  notes: `${configNotes}\nResponses are taken to be as long as they may be. Nothing is trained and no weights are read.`,
  overridable: true,
  async run(values, { stdout }, overrides) {
    const [{ readTrainConfig }, { planRun }] = await Promise.all([
      import('../../train/readConfig.ts'),
      import('../../train/plan.ts'),
    ]);
    const { config } = readTrainConfig(values.config, overrides);
    stdout.write(`${formatPlan(await planRun(config))}\n`);
    return 0;
  },
});
