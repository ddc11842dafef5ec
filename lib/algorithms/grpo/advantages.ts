import { deviationOf, type Moments } from '../groups.ts';

/**
 * The distance of a reward from the mean of its group, in standard deviations of the group.
 *
 *   A = (r − μ_group) / (σ_group + ε)
 *
 * A group of equals gets 0, and so does a rollout that is alone.
 *
 * @source arXiv:2402.03300, eq. for outcome supervision; σ over n − 1 as verl and EasyR1 take it
 */
export function advantages(
  rewards: Float64Array,
  groups: Moments,
  { std, epsilon }: { std: 'sample' | 'population'; epsilon: number },
): Float64Array {
  const scale = groups.mean.map((_, s) => deviationOf(groups, s, std) + epsilon);
  return rewards.map((r, b) => {
    const s = groups.segmentOf[b]!;
    const distance = r - groups.mean[s]!;
    return distance === 0 ? 0 : distance / scale[s]!;
  });
}
