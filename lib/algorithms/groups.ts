import { segmentStatistics } from '../kernels/segmentStatistics.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { RewardedBatch } from './algorithm.ts';
import { checkNumbers, checkTokenStarts, refuse, wantLength } from './arguments.ts';
import { segments, Segments } from './segments.ts';

/** Sets of rollouts with the mean and the population variance of a number in each. */
export class Moments extends Segments {
  /** [S] */
  readonly mean: Float64Array;
  /** [S] */
  readonly variance: Float64Array;

  constructor(by: Segments, { mean, variance }: { mean: Float64Array; variance: Float64Array }) {
    super(by);
    this.mean = mean;
    this.variance = variance;
  }
  /** How many rollouts a set has. */
  size(segment: number): number {
    return this.starts[segment + 1]! - this.starts[segment]!;
  }
}

export async function momentsOf(by: Segments, values: Float64Array): Promise<Moments> {
  const found = await segmentStatistics.compute({ values: by.sort(values), segmentStarts: by.starts });
  if (found.variance.some((v) => v === Infinity)) throw tooFarApart();
  return new Moments(by, found);
}

/** Finite numbers whose variance is none that a double could hold. */
export const tooFarApart = () =>
  new G2rpoError(
    'NON_FINITE',
    'rewards must be so near to each other that their variance is finite; got an infinite one',
    {
      argument: 'rewards',
    },
  );

/** The standard deviation of a set: over n − 1 (`sample`) or n (`population`). */
export function deviationOf(moments: Moments, segment: number, std: 'sample' | 'population'): number {
  const n = moments.size(segment);
  const variance = moments.variance[segment]!;
  return Math.sqrt(std === 'sample' && n > 1 ? (variance * n) / (n - 1) : variance);
}

/** What a group of one does where rollouts are compared with the mean of their group: it is refused, or gets 0. */
export type Singleton = 'error' | 'zero';

/** @throws INVALID_ARGUMENT  a group has one rollout */
export function refuseSingletons(name: string, groups: Moments): void {
  for (let s = 0; s + 1 < groups.starts.length; s++)
    if (groups.size(s) === 1)
      refuse(
        name,
        'groupIds',
        'must give every group at least two rollouts',
        `a group of row ${groups.first[s]} alone`,
        groups.first[s],
      );
}

/**
 * The groups of a batch that is as it should be.
 *
 * @throws SHAPE_MISMATCH  lists that are not of one length
 * @throws INVALID_ARGUMENT  a group crosses tasks
 * @throws NON_FINITE  a reward is NaN; where `finite` is asked for, also if it is infinite
 */
export function checkBatch(name: string, batch: RewardedBatch, { finite }: { finite: boolean }): Segments {
  const B = batch.rewards.length;
  for (const key of ['groupIds', 'taskIds', 'greedyRewards'] as const) wantLength(name, key, batch[key], B);
  const { components, tokenStarts, taskIds } = batch;
  for (const [key, values] of Object.entries(components ?? {})) wantLength(name, `components.${key}`, values, B);
  wantLength(name, 'tokenStarts', tokenStarts, B + 1);
  if (tokenStarts) checkTokenStarts(name, tokenStarts);
  checkNumbers(name, 'rewards', batch.rewards, finite);
  for (const [key, values] of Object.entries(components ?? {})) checkNumbers(name, `components.${key}`, values, finite);
  if (batch.greedyRewards) checkNumbers(name, 'greedyRewards', batch.greedyRewards, finite);
  const groups = segments(batch.groupIds);
  const { starts, segment } = groups.runs;
  for (let r = 0; r < segment.length; r++) {
    const before = taskIds[groups.first[segment[r]!]!]!;
    for (let b = starts[r]!; b < starts[r + 1]!; b++) if (taskIds[b] !== before) crossesTasks(name, batch, b, before);
  }
  return groups;
}

function crossesTasks(name: string, batch: RewardedBatch, b: number, before: number): never {
  const got = `${taskName(batch, batch.taskIds[b]!)} in row ${b}, ${taskName(batch, before)} before, for group ${batch.groupIds[b]}`;
  return refuse(name, 'taskIds', 'must be the same for all rollouts of a group', got, b);
}

/** The name under which a task is remembered. */
export const taskName = ({ taskNames }: RewardedBatch, id: number): string => taskNames?.[id] ?? String(id);
