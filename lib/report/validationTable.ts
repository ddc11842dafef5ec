import type { ValidationScore } from '../types.ts';
import type { Paint } from './displayText.ts';
import { formatTable, percent, points } from './table.ts';

/** Accuracies by task. */
export type Accuracies = Record<string, number>;

/** A change below this is printed as 0.0. */
const VISIBLE = 0.0005;

/**
 * Per task: how many prompts, accuracy before and now, the change in points, response length. The last row weighs every task the
 * same. Without `before` the columns for it are left out.
 */
export function validationTable(tasks: Record<string, ValidationScore>, before?: Accuracies, paint?: Paint): string {
  const scores = Object.entries(tasks).sort(([a], [b]) => (a < b ? -1 : 1));
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const all: [string, Pick<ValidationScore, 'prompts' | 'accuracy'> & { length: number }][] = [
    ...scores.map(
      ([task, { prompts, accuracy, responseLength }]) =>
        [task, { prompts, accuracy, length: responseLength.mean }] as [string, never],
    ),
    [
      'all tasks',
      {
        prompts: scores.reduce((sum, [, { prompts }]) => sum + prompts, 0),
        accuracy: mean(scores.map(([, { accuracy }]) => accuracy)),
        length: mean(scores.map(([, { responseLength }]) => responseLength.mean)),
      },
    ],
  ];
  const known = scores.map(([task]) => before?.[task]).filter((accuracy) => accuracy !== undefined);
  const start = { ...before, 'all tasks': known.length === scores.length ? mean(known) : undefined };
  const changes = all.map(([task, { accuracy }]) => accuracy - (start[task as keyof typeof start] ?? Number.NaN));
  const heading = before ? ['before %', 'now %', 'change'] : ['accuracy %'];
  const rows = all.map(([task, { prompts, accuracy, length }], i) => [
    task,
    String(prompts),
    ...(before
      ? [percent(start[task as keyof typeof start]), percent(accuracy), points(changes[i])]
      : [percent(accuracy)]),
    length.toFixed(1),
  ]);
  return formatTable([['task', 'prompts', ...heading, 'tokens'], ...rows], {
    ...(paint && { paint }),
    style: (row, column) => {
      const change = changes[row - 1] ?? 0;
      if (!before || column !== 4 || !(Math.abs(change) >= VISIBLE)) return undefined;
      return change > 0 ? 'green' : 'red';
    },
  });
}
