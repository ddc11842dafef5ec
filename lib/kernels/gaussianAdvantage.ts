import { defineKernel, f64, i32, number } from './defineKernel.ts';
import { normalQuantileReference } from './normalQuantile.ts';

/**
 * Rewards, placed by rank on the quantiles of N(0, 1), one segment at a time.
 *
 *   aᵢ = mean, over the rewards tied with i, of Φ⁻¹((r − ½) / n)      r = 1…n, the rank
 *
 * A segment of one gets 0: there is nothing to compare it with. +0 and −0 are tied; infinities are the largest and the
 * smallest. The mean over ties is one of quantiles, not the quantile of a mean rank.
 *
 * @throws NON_FINITE        a reward is NaN
 * @throws INVALID_ARGUMENT  segmentStarts does not rise from 0 to B
 * @source arXiv:2604.08539, Gaussian advantage
 */
export const gaussianAdvantage = defineKernel({
  name: 'gaussian_advantage',
  inputs: {
    /** only the order matters */
    rewards: f64('B'),
    /** offsets from 0 to B, never falling; segment s is [starts[s], starts[s+1]) */
    segmentStarts: i32('S+1'),
  },
  scalars: {
    /** neighbours in sorted order at most this far apart are tied */
    tieTolerance: number(0),
  },
  outputs: { advantages: f64('B') },
  reference({ rewards, segmentStarts, tieTolerance }, { advantages }) {
    for (let s = 0; s + 1 < segmentStarts.length; s++) {
      const start = segmentStarts[s]!;
      const n = segmentStarts[s + 1]! - start;
      const order = Array.from({ length: n }, (_, i) => start + i).sort((i, j) =>
        rewards[i]! < rewards[j]! ? -1 : Number(rewards[i]! > rewards[j]!),
      );
      for (let b = 0, e = 1; b < n; b = e++) {
        const tied = (i: number, j: number) => i === j || j - i <= tieTolerance; // ∞ − ∞ is no distance
        while (e < n && tied(rewards[order[e - 1]!]!, rewards[order[e]!]!)) e++;
        let sum = 0;
        for (let r = b; r < e; r++) sum += normalQuantileReference((r + 0.5) / n);
        for (let r = b; r < e; r++) advantages[order[r]!] = sum / (e - b);
      }
    }
  },
  work: ({ B }) => ({ bytes: 16 * B!, flops: 40 * B! }),
});
