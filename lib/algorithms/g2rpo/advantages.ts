import { gaussianAdvantage } from '../../kernels/gaussianAdvantage.ts';
import type { RewardedBatch } from '../algorithm.ts';
import { scratch } from '../scratch.ts';
import { segments, type Segments } from '../segments.ts';

export const ADVANTAGE_MODES = ['group_then_task', 'task', 'group'] as const;
export type AdvantageMode = (typeof ADVANTAGE_MODES)[number];

/** Equal quantiles of the first pass may differ by rounding; distinct ones of a batch of 10⁵ differ by more. */
export const SECOND_PASS_TIES = 1e-9;

/**
 * One number per rollout: its place among its group on the quantiles of N(0, 1), and then the place of that among all
 * rollouts of its task. Tasks whose rewards are spread differently so learn with the same force.
 *
 *   group_then_task   A = G_task(G_group(r))
 *   task              A = G_task(r): an easy prompt's rollouts are all above zero
 *   group             A = G_group(r)
 *
 * A rollout that is alone in its set gets 0. A group of equals gets 0 by its own ranks, and then the place of 0 in its task.
 *
 * @throws NON_FINITE  a reward is NaN
 * @source arXiv:2604.08539, Gaussian advantage; the two passes are those of its released code
 */
export async function advantages(
  { rewards, taskIds }: RewardedBatch,
  groups: Segments,
  { mode, tieTolerance }: { mode: AdvantageMode; tieTolerance: number },
): Promise<Float64Array> {
  const tasks = () => segments(taskIds, groups.runs);
  if (mode === 'task') return gaussian(rewards, tasks());
  const perGroup = await gaussian(rewards, groups);
  return mode === 'group' ? perGroup : gaussian(perGroup, tasks(), { tieTolerance, into: perGroup });
}

/** Every value's place in its segment on the quantiles of N(0, 1). @param into  may be the values */
export async function gaussian(
  values: Float64Array,
  by: Segments,
  { tieTolerance = 0, into }: { tieTolerance?: number; into?: Float64Array<ArrayBuffer> } = {},
): Promise<Float64Array<ArrayBuffer>> {
  const rewards = by.sort(values, scratch('f64', values.length)); // read before `compute` returns its promise
  const placed = await gaussianAdvantage.compute({ rewards, segmentStarts: by.starts, tieTolerance });
  return by.restore(placed.advantages, into);
}
