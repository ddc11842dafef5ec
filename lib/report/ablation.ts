import type { MetricRow, TrialRecord } from '../types.ts';
import { chart, COLOURS, type Panel, type Series } from './chart.ts';
import { estimate, type Estimate } from './confidence.ts';

/** What an ablation found, as files by name. */
export type AblationReport = Record<'table.md' | 'results.json' | `${string}.svg`, string>;

const ACCURACY = /^val\/(.+)_accuracy_reward$/;
const MACRO = 'val/accuracy_macro';

/**
 * Tables and curves of trials: for every variant the mean over its seeds, with 95 % confidence intervals (Student's t).
 *
 * Differences to the reference are taken seed by seed, because trials of one seed see the same prompts in the same order.
 */
export function ablationReport(
  records: readonly TrialRecord[],
  { variants, reference, command }: { variants: readonly string[]; reference: string; command: string },
): AblationReport {
  const known = variants.filter((variant) => records.some((record) => record.variant === variant));
  const of = (variant: string) => records.filter((record) => record.variant === variant);
  const tasks = [
    ...new Set(records.flatMap(({ rows }) => rows.flatMap((row) => Object.keys(row).flatMap(taskOf)))),
  ].sort();
  return {
    'table.md': table(known, tasks, of, reference, command),
    'results.json': `${JSON.stringify(results(known, tasks, of), null, 1)}\n`,
    ...curves(known, tasks, of),
  };
}

const taskOf = (name: string): string[] => ACCURACY.exec(name)?.slice(1) ?? [];
const accuracyOf = (task: string) => (task === 'all' ? MACRO : `val/${task}_accuracy_reward`);
const numberOf = (row: MetricRow | undefined, name: string): number => Number(row?.[name] ?? Number.NaN);
const validations = ({ rows }: TrialRecord): MetricRow[] => rows.filter((row) => MACRO in row);
const last = (record: TrialRecord, name: string) => numberOf(validations(record).at(-1), name);
const first = (record: TrialRecord, name: string) => numberOf(validations(record)[0], name);
/** The mean of a metric over the last tenth of a run's updates; what it was last, where none of them has it. */
function lately({ rows, steps }: TrialRecord, name: string): number {
  const having = rows.filter((row) => name in row);
  const late = having.filter((row) => row.step > 0.9 * steps).map((row) => numberOf(row, name));
  return late.length > 0 ? late.reduce((a, b) => a + b, 0) / late.length : numberOf(having.at(-1), name);
}

const percent = ({ mean, margin }: Estimate) =>
  `${(100 * mean).toFixed(1)}${Number.isNaN(margin) ? '' : ` ± ${(100 * margin).toFixed(1)}`}`;
const signed = ({ mean, margin }: Estimate) =>
  `${mean < 0 ? '−' : '+'}${(100 * Math.abs(mean)).toFixed(1)}${Number.isNaN(margin) ? '' : ` ± ${(100 * margin).toFixed(1)}`}`;
const plain = ({ mean }: Estimate, digits: number) => mean.toFixed(digits);

type Of = (variant: string) => TrialRecord[];

function table(
  variants: readonly string[],
  tasks: readonly string[],
  of: Of,
  reference: string,
  command: string,
): string {
  const over = (variant: string, name: string, how = last) => estimate(of(variant).map((record) => how(record, name)));
  const base = (name: string) => estimate([...new Set(variants.flatMap((v) => of(v).map((r) => first(r, name))))]);
  const paired = (variant: string, name: string) => {
    const mates = of(reference);
    const differences = of(variant).flatMap((record) => {
      const mate = mates.find(({ seed }) => seed === record.seed);
      return mate ? [last(record, name) - last(mate, name)] : [];
    });
    return variant === reference || differences.length === 0 ? '' : signed(estimate(differences));
  };
  const columns = ['all', ...tasks];
  const heading = ['variant', 'seeds', 'all tasks', `to ${reference}`, ...tasks, 'tokens', 'entropy'];
  const rows = variants.map((variant) => [
    variant,
    String(of(variant).length),
    percent(over(variant, MACRO)),
    paired(variant, MACRO),
    ...tasks.map((task) => percent(over(variant, accuracyOf(task)))),
    plain(over(variant, 'response_length/mean', lately), 1),
    plain(over(variant, 'actor/entropy', lately), 3),
  ]);
  const start = [
    'before',
    '',
    percent(base(MACRO)),
    '',
    ...columns.slice(1).map((task) => percent(base(accuracyOf(task)))),
    '',
    '',
  ];
  const shares = variants.map((variant) => [
    variant,
    ...tasks.map((task) => percent(over(variant, `actor/gradient_share/${task}`, overAll))),
  ]);
  return `${[
    `\`${command}\``,
    'Greedy accuracy in % on held-out prompts after the last update: means over seeds ± half of the 95 % confidence interval. Differences',
    `to ${reference} are taken seed by seed. Tokens and entropy (nats) are of sampled responses over the last tenth of the updates.`,
    markdown(heading, [start, ...rows]),
    'Share of the push on log-probabilities (Σ |weight · advantage|) by task, in %, over all updates:',
    markdown(['variant', ...tasks], shares),
  ].join('\n\n')}\n`;
}

/** The mean of a metric over all updates; an update in which a task is absent counts 0 for it. */
const overAll = ({ rows }: TrialRecord, name: string): number => {
  const updates = rows.filter((row) => 'actor/pg_loss' in row);
  return updates.reduce((sum, row) => sum + (name in row ? numberOf(row, name) : 0), 0) / updates.length;
};

function markdown(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows];
  const widths = heading.map((_, c) => Math.max(3, ...all.map((row) => [...row[c]!].length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join(' | ')} |`;
  const rule = `| ${widths.map((width, c) => (c === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(heading), rule, ...rows.map(line)].join('\n');
}

function results(variants: readonly string[], tasks: readonly string[], of: Of) {
  return variants.flatMap((variant) =>
    of(variant).map((record) => ({
      variant,
      seed: record.seed,
      before: Object.fromEntries(['all', ...tasks].map((task) => [task, first(record, accuracyOf(task))])),
      after: Object.fromEntries(['all', ...tasks].map((task) => [task, last(record, accuracyOf(task))])),
    })),
  );
}

function curves(variants: readonly string[], tasks: readonly string[], of: Of): Record<`${string}.svg`, string> {
  const colourOf = (i: number) => COLOURS[i % COLOURS.length]!;
  const perVariant = (name: string, bins: number): Series[] =>
    variants.map((label, i) => ({ label, colour: colourOf(i), points: binned(of(label), name, bins) }));
  const panels = (name: (task: string) => string, bins: number, all?: string): Panel[] => [
    ...(all === undefined ? [] : [{ title: 'all tasks', series: perVariant(all, bins) }]),
    ...tasks.map((task) => ({ title: task, series: perVariant(name(task), bins) })),
  ];
  const axes = { xLabel: 'optimizer updates' };
  return {
    'accuracy.svg': chart(panels(accuracyOf, 0, MACRO), {
      ...axes,
      title: 'Held-out accuracy',
      yLabel: 'greedy accuracy',
      columns: 4,
    }),
    'reward.svg': chart(
      panels((task) => `reward/accuracy/${task}`, 20, 'reward/accuracy'),
      {
        ...axes,
        title: 'Accuracy of sampled responses',
        yLabel: 'before filtering',
        columns: 4,
      },
    ),
    'length.svg': chart(
      panels((task) => `response_length/mean/${task}`, 20, 'response_length/mean'),
      {
        ...axes,
        title: 'Response length',
        yLabel: 'tokens',
        columns: 4,
      },
    ),
    'entropy.svg': chart(
      panels((task) => `actor/entropy/${task}`, 20, 'actor/entropy'),
      {
        ...axes,
        title: 'Entropy of the policy',
        yLabel: 'nats',
        columns: 4,
      },
    ),
    'gradient-share.svg': chart(
      variants.map((variant) => ({
        title: variant,
        stacked: true,
        yRange: [0, 1] as const,
        series: tasks.map((label, i) => ({
          label,
          colour: colourOf(i),
          points: binned(of(variant), `actor/gradient_share/${label}`, 20, 0),
        })),
      })),
      { ...axes, title: 'Share of the push on log-probabilities', yLabel: 'by task' },
    ),
  };
}

/**
 * Means over seeds with their confidence intervals, over so many equal parts of the updates; 0 takes every step that has the metric.
 *
 * @param absent  what an update without the metric counts; default it does not
 */
function binned(records: readonly TrialRecord[], name: string, bins: number, absent?: number): Series['points'] {
  const perSeed = records.map(({ rows, steps }) => {
    const sums = new Map<number, { sum: number; count: number }>();
    for (const row of rows) {
      if (!(name in row) && (absent === undefined || !('actor/pg_loss' in row))) continue;
      const x = bins === 0 ? row.step : ((Math.floor((bins * (row.step - 1)) / steps) + 0.5) * steps) / bins;
      const { sum, count } = sums.get(x) ?? { sum: 0, count: 0 };
      sums.set(x, { sum: sum + (name in row ? numberOf(row, name) : absent!), count: count + 1 });
    }
    return new Map([...sums].map(([x, { sum, count }]) => [x, sum / count]));
  });
  const xs = [...new Set(perSeed.flatMap((each) => [...each.keys()]))].sort((a, b) => a - b);
  return xs.map((x) => {
    const { mean, margin } = estimate(perSeed.flatMap((each) => each.get(x) ?? []));
    return { x, y: mean, ...(!Number.isNaN(margin) && { low: mean - margin, high: mean + margin }) };
  });
}
