import { statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createTerminal } from '../../report/terminal.ts';
import { G2rpoError } from '../../runtime/errors.ts';
import { defineCommand } from '../command.ts';
import { usageError } from '../parse.ts';
import { configArgs, configNotes } from './configuration.ts';

export const calibrate = defineCommand({
  description: 'propose bounds for the shaping of every task, from right answers of the policy',
  args: {
    config: configArgs.config,
    prompts: { type: 'string', number: 'whole', description: 'of every task type', valueHint: 'N', default: '32' },
    n: { type: 'string', number: 'whole', description: 'rollouts of a prompt; default rollout.n', valueHint: 'N' },
    out: { type: 'string', description: 'file for the YAML; default the terminal', valueHint: 'FILE' },
  },
  notes: `${configNotes}\nWhat it prints is a part of a configuration, for the file of the run.`,
  overridable: true,
  async run(values, { stdout, stderr, environment }, overrides) {
    for (const name of ['prompts', 'n'] as const)
      if ((values[name] ?? 1) < 1) throw usageError(`--${name} must be at least 1; got ${values[name]}`);
    if (values.out !== undefined) checkFile(values.out);
    const [{ readTrainConfig }, room, { formatCalibration }] = await Promise.all([
      import('../../train/readConfig.ts'),
      import('../../train/calibrate.ts'),
      import('../../train/formatCalibration.ts'),
    ]);
    const { config } = readTrainConfig(values.config, overrides);
    const terminal = createTerminal(stderr, { color: environment.color });
    const { prompts, n, out } = values;
    try {
      const onTask = (task: string, index: number, tasks: number) =>
        terminal.status(`sampling ${task}: task ${index + 1} of ${tasks}`);
      const found = await room.calibrate(config, { prompts, n, onTask });
      const text = formatCalibration(found, config, { prompts, n });
      terminal.close();
      if (out === undefined) stdout.write(text);
      else write(out, text);
      return 0;
    } finally {
      terminal.close();
    }
  },
});

/** What can be seen before anything is sampled. */
function checkFile(file: string): void {
  const folder = dirname(resolve(file));
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw usageError(`--out must lie in a folder that is there; got ${folder}`);
  if (file === '' || statSync(file, { throwIfNoEntry: false })?.isDirectory())
    throw usageError(`--out must be a file; got ${JSON.stringify(file)}`);
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new G2rpoError('IO', `calibrate: ${file}: ${(cause as Error).message}`, { file }, { cause });
  }
}
