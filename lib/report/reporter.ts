import { G2rpoError } from '../runtime/errors.ts';
import type { Reporter, ScoredRollout, StepReport, ValidationReport } from '../types.ts';
import { plainLine, truncate } from './displayText.ts';
import { openStepLog, type LogRow, type StepLog } from './stepLog.ts';
import { duration } from './table.ts';
import type { Terminal } from './terminal.ts';
import { validationTable, type Accuracies } from './validationTable.ts';

export interface ReporterOptions {
  /** folder of the run: metrics.jsonl, samples.jsonl and, if wanted, rollouts.jsonl are written there */
  dir: string;
  terminal: Terminal;
  /** optimizer updates in all, to tell how long it will take */
  steps?: number;
  /** write every scored rollout with its text; large */
  rollouts?: boolean;
  /** milliseconds of a clock that does not go back */
  now?: () => number;
}

/** What the line of a step shows of its metrics, where they are there. */
const HEADLINE: readonly [label: string, metric: string, digits: number][] = [
  ['reward', 'reward/overall', 3],
  ['accuracy', 'reward/accuracy', 3],
  ['loss', 'sft/loss', 4],
  ['entropy', 'actor/entropy', 3],
  ['tokens', 'response_length/mean', 1],
];
/** How often a log that is no terminal is told that the sampling goes on. */
const SAMPLING_EVERY_MS = 30_000;
const ACCURACY = /^val\/(.+)_accuracy_reward$/;

/**
 * Tells of a run in files and on a terminal: a line per update, a table per validation with the change since the first one,
 * also after the run was interrupted and goes on.
 *
 * @throws INTERNAL  something is reported before `rewind`
 * @throws IO  a file cannot be written
 */
export function createReporter(options: ReporterOptions): Reporter & { close(): Promise<void> } {
  const { dir, terminal, steps, rollouts = false, now = () => performance.now() } = options;
  const logs = new Map<string, StepLog>();
  let first: { step: number; accuracies: Accuracies } | undefined;
  const times: number[] = [];
  /** the line of the last update */
  let headline = '';
  /** several updates share the rollouts of one batch, and only the first of them brings their metrics */
  let latest: StepReport['metrics'] = {};

  const log = (name: string): StepLog => {
    const found = logs.get(name);
    if (!found) throw new G2rpoError('INTERNAL', `reporter: ${name} written before rewind`);
    return found;
  };
  const remember = (row: LogRow) => {
    if (first && first.step < row.step) return;
    const found = Object.entries(row).flatMap(([name, value]) => {
      const task = ACCURACY.exec(name)?.[1];
      return task === undefined ? [] : [[task, Number(value)] as const];
    });
    if (found.length > 0) first ??= { step: row.step, accuracies: Object.fromEntries(found) };
  };

  return {
    async rewind(step, validated = step) {
      first = undefined;
      latest = {};
      for (const each of logs.values()) await each.close();
      const last = (row: LogRow) => (Object.keys(row).some((name) => name.startsWith('val/')) ? validated : step);
      logs.set('metrics', await openStepLog(dir, 'metrics', last, remember));
      logs.set('samples', await openStepLog(dir, 'samples', validated));
      if (rollouts) logs.set('rollouts', await openStepLog(dir, 'rollouts', step));
    },
    async step(report) {
      await log('metrics').append({ step: report.step, ...report.metrics });
      times.push(now());
      latest = { ...latest, ...report.metrics };
      headline = stepLine({ step: report.step, metrics: latest }, steps, times);
      terminal.status(headline);
    },
    sampling({ done, drawn, kept }) {
      const line = `sampling ${done} of ${drawn} prompts, ${kept} kept`;
      terminal.status(terminal.live && headline ? `${line}  ${headline}` : line, SAMPLING_EVERY_MS);
    },
    async validation({ step, tasks, metrics, samples }) {
      await log('metrics').append({ step, ...metrics });
      for (const sample of samples) await log('samples').append({ step, ...sample });
      const before = first && first.step < step ? first : undefined;
      remember({ step, ...metrics });
      const since = before ? `, and what changed since step ${before.step}` : '';
      const title = terminal.paint('bold', `Validation at step ${step}${since}`);
      terminal.print(`${title}\n${validationTable(tasks, before?.accuracies, terminal.paint)}`);
      for (const sample of samples) terminal.print(sampleLines(sample, terminal));
    },
    note: (text) => terminal.print(terminal.paint('yellow', plainLine(text))),
    ...(rollouts && {
      async rollouts(step: number, all: readonly ScoredRollout[]) {
        for (const rollout of all) await log('rollouts').append(rolloutRow(step, rollout));
      },
    }),
    async close() {
      for (const each of logs.values()) await each.close();
      logs.clear();
      terminal.close();
    },
  };
}

function stepLine({ step, metrics }: StepReport, steps: number | undefined, times: readonly number[]): string {
  const shown = HEADLINE.flatMap(([label, name, digits]) =>
    metrics[name] === undefined ? [] : [`${label} ${metrics[name].toFixed(digits)}`],
  );
  const recent = times.slice(-20);
  const seconds = (recent.at(-1)! - recent[0]!) / (recent.length - 1) / 1000;
  const left = steps === undefined ? [] : [`${duration(seconds * (steps - step))} left`];
  const pace = recent.length > 1 ? [`${duration(seconds)} a step`, ...(step === steps ? [] : left)] : [];
  return [`step ${step}${steps === undefined ? '' : `/${steps}`}`, ...shown, ...pace].join('  ');
}

function sampleLines(sample: ValidationReport['samples'][number], { paint }: Terminal): string {
  const line = (label: string, text: string) => `  ${paint('dim', label.padEnd(8))} ${truncate(plainLine(text), 110)}`;
  return [
    line(truncate(sample.task, 40), ''),
    line('asked', sample.problem),
    line('said', sample.response),
    line('wanted', `${sample.answer} (accuracy ${sample.reward.accuracy.toFixed(2)}, format ${sample.reward.format})`),
  ]
    .map((each) => each.trimEnd())
    .join('\n');
}

const rolloutRow = (step: number, { groupId, prompt, tokens, text, finish, reward }: ScoredRollout): LogRow => ({
  step,
  groupId,
  source: prompt.source,
  problemType: prompt.problemType,
  taskType: prompt.taskType,
  problem: prompt.problem,
  images: prompt.images,
  ...(prompt.videos && { videos: prompt.videos }),
  answer: prompt.answer,
  response: text,
  tokens: tokens.length,
  finish,
  reward,
});
