import { paintIn, plainLine } from '../../report/displayText.ts';
import { validationTable } from '../../report/validationTable.ts';
import { defineCommand } from '../command.ts';
import { configArgs, configNotes } from './configuration.ts';

export const evaluation = defineCommand({
  description: 'validate the policy of a configuration on its held-out prompts',
  args: {
    config: configArgs.config,
    json: { type: 'boolean', description: 'print the whole report as JSON' },
  },
  notes: `${configNotes}\nWith policy.path=runs/one/policy it is the policy of a run.`,
  overridable: true,
  async run(values, { stdout, stderr, environment }, overrides) {
    const { readTrainConfig } = await import('../../train/readConfig.ts');
    const { evaluate } = await import('../../train/evaluate.ts');
    const report = await evaluate(readTrainConfig(values.config, overrides).config);
    for (const reason of report.skipped) stderr.write(`left out: ${plainLine(reason)}\n`);
    for (const reason of report.failures) stderr.write(`not scored: ${plainLine(reason)}\n`);
    const paint = paintIn(stdout.isTTY === true && environment.color);
    stdout.write(
      `${values.json ? JSON.stringify(report, null, 2) : validationTable(report.tasks, undefined, paint)}\n`,
    );
    return 0;
  },
});
