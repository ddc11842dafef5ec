import { duration } from '../../report/table.ts';
import { createReporter } from '../../report/reporter.ts';
import { createTerminal } from '../../report/terminal.ts';
import { validationTable } from '../../report/validationTable.ts';
import { defineCommand } from '../command.ts';
import { EXIT } from '../exit.ts';

export const quickstart = defineCommand({
  description: 'train the small policy of the package on six visual tasks by G²RPO',
  args: {
    dir: {
      type: 'string',
      description: 'folder for pictures, checkpoints and metrics',
      valueHint: 'DIR',
      default: 'runs/quickstart',
    },
    fresh: { type: 'boolean', description: 'begin again where an earlier run stands, which is deleted' },
    'cold-start': {
      type: 'boolean',
      description: 'instead, make the policy that it begins with, from random weights',
    },
  },
  notes:
    'An interrupted run goes on where it stopped. Changes are of configs/quickstart/train.yaml (seed=2, train.steps=50, …).',
  overridable: true,
  stoppable: true,
  async run(values, { stdout, environment, signal }, overrides) {
    const { coldStart, quickstart: start } = await import('../../train/quickstart.ts');
    const terminal = createTerminal(stdout, { color: environment.color });
    const begin = performance.now();
    let reporter: ReturnType<typeof createReporter> | undefined;
    const report = (dir: string, steps: number) => (reporter = createReporter({ dir, steps, terminal }));
    const onDrawing = ({ done, total }: { done: number; total: number }) =>
      terminal.status(`drawing pictures: ${done} of ${total}`, 10_000);
    try {
      if (values['cold-start']) {
        const dir = values.dir === 'runs/quickstart' ? 'runs/cold-start' : values.dir;
        const result = await coldStart({
          ...{ dir, changes: overrides, onDrawing, signal },
          reporter: ({ output, steps }) => report(output, steps),
        });
        terminal.print(`${result.stopped ? 'stopped' : 'done'} after ${duration((performance.now() - begin) / 1000)}`);
        return result.stopped ? EXIT.interrupted : EXIT.ok;
      }
      terminal.print(terminal.paint('bold', 'g2rpo quick start: a small Qwen3-VL learns six visual tasks by G²RPO'));
      const result = await start({
        ...{ dir: values.dir, changes: overrides, fresh: values.fresh === true, onDrawing, signal },
        reporter: (config) => report(config.output, config.train.steps),
      });
      const { before, after, config, stopped, step, policyDir } = result;
      if (stopped) {
        terminal.print(`stopped and saved at step ${step}; the same command goes on from there`);
        return EXIT.interrupted;
      }
      if (before && after && after.step === step)
        terminal.print(
          `\n${terminal.paint('bold', `Held-out prompts, greedy answers: before, and after ${step} updates`)}\n` +
            validationTable(
              after.tasks,
              Object.fromEntries(Object.entries(before.tasks).map(([task, { accuracy }]) => [task, accuracy])),
              terminal.paint,
            ),
        );
      const rollouts =
        (step / (config.rollout.prompts / config.train.updatePrompts)) * config.rollout.prompts * config.rollout.n;
      terminal.print(
        [
          '',
          `The policy began with demonstrations of right answers only; no bad habit was planted for it to lose. Then it answered`,
          `by itself: about ${Math.round(rollouts / 1000)} thousand graded answers, and not one of them shown. What it gained is sight and arithmetic of this`,
          'little world; it has learnt nothing about any other.',
          '',
          `policy   ${policyDir}`,
          `metrics  ${config.output}/metrics.jsonl`,
          `time     ${duration((performance.now() - begin) / 1000)} since it was started or went on; once more here it only tells of this run, --fresh begins anew`,
        ].join('\n'),
      );
      return EXIT.ok;
    } finally {
      await reporter?.close();
      terminal.close();
    }
  },
});
