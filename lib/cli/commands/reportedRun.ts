import { createReporter, type ReporterOptions } from '../../report/reporter.ts';
import { createTerminal } from '../../report/terminal.ts';
import type { TrainResult } from '../../train/train.ts';
import type { Reporter } from '../../types.ts';
import type { Io } from '../command.ts';
import { EXIT } from '../exit.ts';

/** Runs a training that tells of itself on the terminal and in its folder. Returns the exit code. */
export async function reportedRun(
  { stdout, environment }: Io,
  options: Omit<ReporterOptions, 'terminal'>,
  start: (reporter: Reporter) => Promise<TrainResult>,
): Promise<number> {
  const terminal = createTerminal(stdout, { color: environment.color });
  const reporter = createReporter({ ...options, terminal });
  try {
    const { step, stopped, policyDir, adapterDir } = await start(reporter);
    terminal.print(
      stopped
        ? `stopped and saved at step ${step}; the same command goes on from there`
        : `done at step ${step}: the policy is in ${policyDir}, ${adapterDir ? `the adapter in ${adapterDir}, ` : ''}the numbers in ${options.dir}/metrics.jsonl`,
    );
    return stopped ? EXIT.interrupted : EXIT.ok;
  } finally {
    await reporter.close();
  }
}
