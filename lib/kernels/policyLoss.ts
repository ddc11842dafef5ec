import { defineKernel, i32, integer, number, real } from './defineKernel.ts';

/** The per-token losses that kernels know, as their `kind` argument. */
export const POLICY_LOSS_KINDS = { reinforce: 0, ppo: 1, cispo: 2, sapo: 3 } as const;

/** The estimators of the KL divergence from a reference policy that kernels know, as their `klKind` argument. */
export const KL_KINDS = { none: 0, k1: 1, abs: 2, k2: 3, k3: 4, 'k3+': 5 } as const;

/**
 * Weighted policy-gradient loss of each token and its slope in logProbs, with a KL term to a reference policy if asked for.
 * Losses are minimised: a positive advantage makes a likelier token lower the loss.
 *
 *   reinforce   l = −A·logProb
 *   ppo         l = max(−A·ρ, −A·clip(ρ, 1 − clipLow, 1 + clipHigh)),  ρ = exp(clamp(logProb − oldLogProb, ±20));
 *               where A < 0 and clipDual > 0 also min(l, −A·clipDual)
 *   cispo       l = −c·A·logProb,  c = clip(ρ, 1 − clipLow, 1 + clipHigh) as a constant: its slope is −c·A
 *   sapo        l = −A·(4/τ)·σ(τ·(ρ − 1)),  τ = tauPositive where A ≥ 0, else tauNegative;  slope −A·4·σ·(1 − σ)·ρ
 *   loss = weight·l + klWeight·kl,  dLogProbs = weight·∂l/∂logProb + klWeight·∂kl/∂logProb
 *
 * The KL term, x = logProb − refLogProb:
 *
 *   k1    x              slope 1
 *   abs   |x|            slope sign x, 0 at 0
 *   k2    x²/2           slope x
 *   k3    eᵘ + x − 1     slope 1 − eᵘ,  u = clamp(−x, ±20), the whole clamped to ±10; 0 where either clamp acts
 *   k3+   as k3          slope x: the value of k3 with the gradient of k2, which is that of the divergence itself
 *
 * The slope of ppo is −A·ρ where the unclipped branch is the larger and the dual bound is not reached, else 0. The slopes of
 * ppo and sapo are 0 too where the clamp to ±20 acts. `clipped` is 1 where ppo's clipped branch was strictly the larger, or
 * cispo's ratio strictly outside its bounds; 2 where the dual bound was strictly the smaller; else 0. Log-probabilities are
 * natural; the sum of `loss` is the loss of the batch when the weights are 1 / (number of tokens). A clipHigh of Infinity and
 * a clipLow of 1 switch their side off. reinforce reads no oldLogProbs; a klKind of none reads neither refLogProbs nor
 * klWeights, which may then be left out.
 *
 * @throws INVALID_ARGUMENT  kind or klKind is none of these; clipLow outside [0, 1]; clipHigh negative; clipDual neither 0 nor
 *                           above 1; a tau not positive and finite; a KL term without refLogProbs or klWeights
 * @throws NON_FINITE        a token's loss or slope is NaN or infinite
 * @source arXiv:1707.06347, eq. 7; arXiv:1912.09729, eq. 10 (dual clip); arXiv:2503.14476, eq. 8 (two clip distances);
 *         arXiv:2506.13585 (cispo); arXiv:2511.20347 (sapo); http://joschu.net/blog/kl-approx.html (k1, k2, k3)
 */
export const policyLoss = defineKernel({
  name: 'policy_loss',
  inputs: {
    logProbs: real('N'),
    /** of the proximal policy: the denominator of the ratio; where there are none it is the policy itself, and every ratio 1 */
    oldLogProbs: real('N?'),
    advantages: real('N'),
    /** multiply loss and slope: 1 / tokens, importance weights, 0 for tokens that do not count */
    weights: real('N'),
    /** of the frozen reference */
    refLogProbs: real('N?'),
    /** multiply the KL term and its slope */
    klWeights: real('N?'),
  },
  scalars: {
    /** one of POLICY_LOSS_KINDS */
    kind: integer(POLICY_LOSS_KINDS.ppo),
    /** distance of the lower bound from 1 */
    clipLow: number(0.2),
    /** distance of the upper bound from 1 */
    clipHigh: number(0.2),
    /** bound on ppo's ratio where the advantage is negative; 0 is off */
    clipDual: number(0),
    /** how sharply sapo's gate closes where the advantage is not negative */
    tauPositive: number(1),
    /** the same where it is negative */
    tauNegative: number(1.05),
    /** one of KL_KINDS */
    klKind: integer(KL_KINDS.none),
  },
  outputs: { loss: real('N'), dLogProbs: real('N'), clipped: i32('N') },
  reference({ logProbs, ...args }, out) {
    for (let i = 0; i < logProbs.length; i++) {
      const token = weightedLossReference(i, logProbs[i]!, args);
      out.loss[i] = token.loss;
      out.dLogProbs[i] = token.slope;
      out.clipped[i] = token.clipped;
    }
  },
  work: ({ N }) => ({ bytes: 28 * N!, flops: 30 * N! }),
});

/** What a token's loss depends on besides the token. */
export interface TokenLossScalars {
  kind: number;
  clipLow: number;
  clipHigh: number;
  clipDual: number;
  tauPositive: number;
  tauNegative: number;
}

/** The arguments of a loss over many tokens. */
export interface TokenLossArguments extends TokenLossScalars {
  /** those of the policy itself where there are none */
  oldLogProbs?: ArrayLike<number> | undefined;
  advantages: ArrayLike<number>;
  weights: ArrayLike<number>;
  refLogProbs: ArrayLike<number>;
  klWeights: ArrayLike<number>;
  klKind: number;
}

interface TokenLossValue {
  loss: number;
  slope: number;
  clipped: 0 | 1 | 2;
}

/** Loss, slope and clip mark of token i with its weights and its KL term. */
export function weightedLossReference(i: number, logProb: number, args: TokenLossArguments): TokenLossValue {
  const token = tokenLossReference(logProb, args.oldLogProbs?.[i] ?? logProb, args.advantages[i]!, args);
  let loss = args.weights[i]! * token.loss;
  let slope = args.weights[i]! * token.slope;
  if (args.klKind !== KL_KINDS.none) {
    const term = klReference(logProb - args.refLogProbs[i]!, args.klKind);
    loss += args.klWeights[i]! * term.kl;
    slope += args.klWeights[i]! * term.slope;
  }
  return { loss, slope, clipped: token.clipped };
}

/** Loss, slope and clip mark of one token, before its weight. */
export function tokenLossReference(
  logProb: number,
  oldLogProb: number,
  advantage: number,
  { kind, clipLow, clipHigh, clipDual, tauPositive, tauNegative }: TokenLossScalars,
): TokenLossValue {
  if (kind === POLICY_LOSS_KINDS.reinforce) return { loss: -advantage * logProb, slope: -advantage, clipped: 0 };
  const distance = logProb - oldLogProb;
  const beyond = Math.abs(distance) > 20;
  const ratio = Math.exp(Math.min(Math.max(distance, -20), 20));
  const cut = Math.min(Math.max(ratio, 1 - clipLow), 1 + clipHigh);
  if (kind === POLICY_LOSS_KINDS.cispo)
    return { loss: -cut * advantage * logProb, slope: -cut * advantage, clipped: ratio === cut ? 0 : 1 };
  if (kind === POLICY_LOSS_KINDS.sapo) {
    const tau = advantage >= 0 ? tauPositive : tauNegative;
    const open = 1 / (1 + Math.exp(-tau * (ratio - 1)));
    const shut = 1 / (1 + Math.exp(tau * (ratio - 1))); // 1 − open, which would round to 0
    const slope = beyond ? 0 : -advantage * 4 * open * shut * ratio;
    return { loss: -advantage * (4 / tau) * open, slope, clipped: 0 };
  }
  const branches = [-advantage * ratio, -advantage * cut] as const;
  const loss = Math.max(...branches);
  if (advantage < 0 && clipDual > 0 && loss > -advantage * clipDual)
    return { loss: -advantage * clipDual, slope: 0, clipped: 2 };
  if (branches[0] < branches[1]) return { loss, slope: 0, clipped: 1 };
  return { loss, slope: beyond ? 0 : branches[0], clipped: 0 };
}

/** The KL term of one token and its slope in logProb, before its weight; x = logProb − refLogProb, klKind one of KL_KINDS. */
export function klReference(x: number, klKind: number): { kl: number; slope: number } {
  const u = Math.min(Math.max(-x, -20), 20);
  const k3 = Math.expm1(u) + x;
  const kl = Math.min(Math.max(k3, -10), 10);
  switch (klKind) {
    case KL_KINDS.none:
      return { kl: 0, slope: 0 };
    case KL_KINDS.k1:
      return { kl: x, slope: 1 };
    case KL_KINDS.abs:
      return { kl: Math.abs(x), slope: Math.sign(x) };
    case KL_KINDS.k2:
      return { kl: (x * x) / 2, slope: x };
    case KL_KINDS.k3:
      return { kl, slope: u === -x && kl === k3 ? -Math.expm1(u) : 0 };
    default:
      return { kl, slope: x };
  }
}
