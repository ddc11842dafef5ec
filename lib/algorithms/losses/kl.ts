import { z } from 'zod';
import { wantLength, wantList, wantOneOf } from '../arguments.ts';
import { KL_KINDS as KERNEL_KINDS, klReference } from '../../kernels/policyLoss.ts';

export const KL_KINDS = ['k1', 'abs', 'k2', 'k3', 'k3+'] as const;
export type KlKind = (typeof KL_KINDS)[number];

export const klConfig = z
  .strictObject({
    coef: z.number().min(0).default(0).describe('weight of the KL term; 0 loads no reference policy'),
    kind: z.enum(KL_KINDS).default('k3').describe('its estimator; in the reward it is always k1'),
    in: z.enum(['loss', 'reward']).default('loss').describe('where the KL term stands'),
    target: z.number().positive().exactOptional().describe('KL that an adaptive coefficient steers to'),
    horizon: z.number().positive().default(10_000).describe('rollouts over which the coefficient adapts'),
  })
  .prefault({});
export type KlConfig = z.output<typeof klConfig>;

/**
 * [N] How far the policy is from the reference, at the tokens that were sampled; x = logProb − refLogProb.
 *
 *   k1 = x    abs = |x|    k2 = x²/2    k3 = e^{−x} + x − 1, −x within ±20 and the value within ±10
 *   k3+ has the value of k3 and the slope of k2
 *
 * `slopes` are by logProb; outside its bounds k3 has none.
 *
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH
 * @source J. Schulman, Approximating KL divergence (2020), for k1, k2, k3
 */
export function klTerms(
  kind: KlKind,
  logProbs: ArrayLike<number>,
  refLogProbs: ArrayLike<number>,
): { values: Float64Array; slopes: Float64Array } {
  wantOneOf('klTerms', 'kind', kind, KL_KINDS);
  wantList('klTerms', 'logProbs', logProbs);
  wantList('klTerms', 'refLogProbs', refLogProbs);
  wantLength('klTerms', 'refLogProbs', refLogProbs, logProbs.length);
  const values = new Float64Array(logProbs.length);
  const slopes = new Float64Array(logProbs.length);
  for (let i = 0; i < logProbs.length; i++) {
    const { kl, slope } = klReference(logProbs[i]! - refLogProbs[i]!, KERNEL_KINDS[kind]);
    values[i] = kl;
    slopes[i] = slope;
  }
  return { values, slopes };
}

/** The coefficient after a batch: β·(1 + clip(KL/target − 1, ±0.2)·rollouts/horizon). @source arXiv:1909.08593 */
export function adaptedCoefficient(
  coefficient: number,
  kl: number,
  rollouts: number,
  { target, horizon }: KlConfig,
): number {
  if (target === undefined) return coefficient;
  const error = Math.min(Math.max(kl / target - 1, -0.2), 0.2);
  return coefficient * (1 + (error * rollouts) / horizon);
}
