import { defineKernel, i32, integer, number, real } from './defineKernel.ts';

/** The per-token losses that kernels know, as their `kind` argument. */
export const POLICY_LOSS_KINDS = { reinforce: 0, ppo: 1 } as const;

/**
 * Weighted policy-gradient loss of each token and its slope in logProbs. Losses are minimised: a positive advantage makes a
 * likelier token lower the loss.
 *
 *   reinforce   l = −A·logProb
 *   ppo         l = max(−A·ρ, −A·clip(ρ, 1 − clipLow, 1 + clipHigh)),  ρ = exp(clamp(logProb − oldLogProb, ±20));
 *               where A < 0 and clipDual > 0 also min(l, −A·clipDual)
 *   loss = weight·l,  dLogProbs = weight·∂l/∂logProb
 *
 * The slope of ppo is −A·ρ where the unclipped branch is the larger and the dual bound is not reached, else 0; it is 0 too
 * where the clamp to ±20 acts. `clipped` is 1 where the clipped branch was strictly the larger, 2 where the dual bound was
 * strictly the smaller, else 0. Log-probabilities are natural; the sum of `loss` is the loss of the batch when the weights
 * are 1 / (number of tokens). A clipHigh of Infinity and a clipLow of 1 switch their side off. reinforce reads no oldLogProbs.
 *
 * @throws INVALID_ARGUMENT  kind is neither; clipLow outside [0, 1]; clipHigh negative; clipDual neither 0 nor above 1
 * @throws NON_FINITE        a token's loss or slope is NaN or infinite
 * @source arXiv:1707.06347, eq. 7; arXiv:1912.09729, eq. 10 (dual clip); arXiv:2503.14476, eq. 8 (two clip distances)
 */
export const policyLoss = defineKernel({
  name: 'policy_loss',
  inputs: {
    logProbs: real('N'),
    /** of the proximal policy: the denominator of the ratio */
    oldLogProbs: real('N'),
    advantages: real('N'),
    /** multiply loss and slope: 1 / tokens, importance weights, 0 for tokens that do not count */
    weights: real('N'),
  },
  scalars: {
    /** one of POLICY_LOSS_KINDS */
    kind: integer(POLICY_LOSS_KINDS.ppo),
    /** distance of the lower bound from 1 */
    clipLow: number(0.2),
    /** distance of the upper bound from 1 */
    clipHigh: number(0.2),
    /** bound on the ratio where the advantage is negative; 0 is off */
    clipDual: number(0),
  },
  outputs: { loss: real('N'), dLogProbs: real('N'), clipped: i32('N') },
  reference({ logProbs, oldLogProbs, advantages, weights, ...loss }, out) {
    for (let i = 0; i < logProbs.length; i++) {
      const token = tokenLossReference(logProbs[i]!, oldLogProbs[i]!, advantages[i]!, loss);
      out.loss[i] = weights[i]! * token.loss;
      out.dLogProbs[i] = weights[i]! * token.slope;
      out.clipped[i] = token.clipped;
    }
  },
  work: ({ N }) => ({ bytes: 28 * N!, flops: 30 * N! }),
});

/** Loss, slope and clip mark of one token, before its weight. */
export function tokenLossReference(
  logProb: number,
  oldLogProb: number,
  advantage: number,
  { kind, clipLow, clipHigh, clipDual }: { kind: number; clipLow: number; clipHigh: number; clipDual: number },
): { loss: number; slope: number; clipped: 0 | 1 | 2 } {
  if (kind === POLICY_LOSS_KINDS.reinforce) return { loss: -advantage * logProb, slope: -advantage, clipped: 0 };
  const distance = logProb - oldLogProb;
  const ratio = Math.exp(Math.min(Math.max(distance, -20), 20));
  const branches = [-advantage * ratio, -advantage * Math.min(Math.max(ratio, 1 - clipLow), 1 + clipHigh)] as const;
  const loss = Math.max(...branches);
  if (advantage < 0 && clipDual > 0 && loss > -advantage * clipDual)
    return { loss: -advantage * clipDual, slope: 0, clipped: 2 };
  if (branches[0] < branches[1]) return { loss, slope: 0, clipped: 1 };
  return { loss, slope: Math.abs(distance) > 20 ? 0 : branches[0], clipped: 0 };
}
