import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createTerminal } from '../../report/terminal.ts';
import type { AblationListener } from '../../train/ablate.ts';
import { defineCommand } from '../command.ts';
import { EXIT } from '../exit.ts';

export const ablate = defineCommand({
  description: 'train variants of a configuration with several seeds, and compare them',
  args: {
    config: { type: 'positional', description: 'YAML file of the ablation', required: true },
    'report-only': { type: 'boolean', description: 'train nothing; report on the trials that are done' },
    'dry-run': { type: 'boolean', description: 'read every configuration, list the trials, and end' },
  },
  notes: `The file names output, base (a configuration of g2rpo train), seeds, jobs (trials at a time), reference, and variants: a list of a
name and the keys that it changes. Trials that are done are kept; the same command goes on where it was stopped or killed.
It writes report/table.md, results.json and curves as SVG into the output folder.`,
  stoppable: true,
  async run(values, { stdout, environment, signal }) {
    const [{ recordsOf, runAblation }, { readAblation, REPORT }, { isDone, onDisk, stateOf }, { ablationReport }] =
      await Promise.all([
        import('../../train/ablate.ts'),
        import('../../train/ablation.ts'),
        import('../../train/trial.ts'),
        import('../../report/ablation.ts'),
      ]);
    const ablation = readAblation(values.config);
    const { output, variants, reference, trials } = ablation;
    if (values['dry-run']) {
      for (const trial of trials) {
        const { done, problem = 'to be trained' } = stateOf(trial);
        stdout.write(`${trial.variant}, seed ${trial.seed}: ${done ? 'done' : problem}  ${trial.dir}\n`);
      }
      return EXIT.ok;
    }
    const terminal = createTerminal(stdout, { color: environment.color });
    let complete = true;
    try {
      if (!values['report-only']) {
        const running = new Set<string>();
        const listener: AblationListener = {
          trial(trial, state) {
            const label = `${trial.variant} seed ${trial.seed}`;
            if (state === 'begins') running.add(label);
            else {
              running.delete(label);
              terminal.print(`${trials.filter(isDone).length} of ${trials.length}  ${label} is done`);
            }
            if (running.size > 0) terminal.status(`training ${[...running].join(', ')}`, 600_000);
          },
          note: (text) => terminal.print(terminal.paint('yellow', text)),
        };
        complete = await runAblation(ablation, listener, signal);
      }
    } finally {
      terminal.close();
    }
    const records = recordsOf(ablation);
    if (records.length === 0) {
      stdout.write('no trial is done yet\n');
      return complete ? EXIT.failed : EXIT.interrupted;
    }
    const command = `g2rpo ablate ${basename(values.config)}`;
    const report = ablationReport(records, { variants, reference, command });
    const folder = join(output, REPORT);
    onDisk(folder, () => {
      mkdirSync(folder, { recursive: true });
      for (const [name, content] of Object.entries(report)) writeFileSync(join(folder, name), content);
    });
    stdout.write(`${report['table.md']}\n${records.length} of ${trials.length} trials; curves are in ${folder}\n`);
    return complete ? EXIT.ok : EXIT.interrupted;
  },
});
