import { defineKernel, i32, integer, number, real, stored } from './defineKernel.ts';
import { KL_KINDS, POLICY_LOSS_KINDS, weightedLossReference } from './policyLoss.ts';

/**
 * Log-probability of each token's target, and entropy, under the softmax of the logits divided by the temperature.
 *
 *   z = hidden·weightᵀ / temperature,  logSumExp = log Σⱼ exp zⱼ
 *   logProbs = z[target] − logSumExp,  entropy = logSumExp − Σⱼ pⱼ·zⱼ,  p = exp(z − logSumExp)      in nats
 *
 * The target of a token is the id that follows it. Logits are never held as a whole: memory does not grow with N·V.
 *
 * @throws INVALID_ARGUMENT  a target is not below V; the temperature is not positive and finite
 * @throws NON_FINITE        a logit is NaN or infinite, naming its token
 */
export const head = defineKernel({
  name: 'head',
  inputs: { hidden: real('N,H'), weight: stored('V,H'), targets: i32('N') },
  scalars: { temperature: number(1) },
  outputs: { logProbs: real('N'), entropy: real('N'), logSumExp: real('N') },
  reference({ hidden, weight, targets, temperature, dims }, out) {
    for (let i = 0; i < targets.length; i++) {
      const token = softmaxReference(logitsReference(hidden, weight, i, dims['H']!), temperature);
      out.logProbs[i] = token.logProbs[targets[i]!]!;
      out.entropy[i] = token.entropy;
      out.logSumExp[i] = token.logSumExp;
    }
  },
  work: ({ N, H, V }) => ({ bytes: 4 * (N! * H! + V! * H!), flops: 2 * N! * H! * V! + 20 * N! * V! }),
});

/**
 * Gradient of `head` in hidden states and weight, from those in its log-probabilities and entropies.
 *
 *   dz = (dLogProbs·(1[j = target] − pⱼ) − dEntropy·pⱼ·(log pⱼ + entropy)) / temperature
 *   dHidden = dz·weight,  dWeight += dzᵀ·hidden
 *
 * dWeight is left out where the weight is frozen. Logits are computed anew from the arguments of the forward; logSumExp and entropy are its outputs.
 *
 * @throws INVALID_ARGUMENT  a target is not below V; the temperature is not positive and finite
 */
export const headBackward = defineKernel({
  name: 'head_backward',
  inputs: {
    dLogProbs: real('N'),
    dEntropy: real('N'),
    hidden: real('N,H'),
    weight: stored('V,H'),
    targets: i32('N'),
    logSumExp: real('N'),
    entropy: real('N'),
  },
  updates: { dWeight: real('V,H?') },
  scalars: { temperature: number(1) },
  outputs: { dHidden: real('N,H') },
  reference(
    { dLogProbs, dEntropy, hidden, weight, targets, logSumExp, entropy, dWeight, temperature, dims },
    { dHidden },
  ) {
    const [H, V] = [dims['H']!, dims['V']!];
    for (let i = 0; i < targets.length; i++) {
      const logits = logitsReference(hidden, weight, i, H);
      for (let j = 0; j < V; j++) {
        const logP = logits[j]! / temperature - logSumExp[i]!;
        const p = Math.exp(logP);
        const hit = j === targets[i] ? 1 : 0;
        const dz = (dLogProbs[i]! * (hit - p) - dEntropy[i]! * p * (logP + entropy[i]!)) / temperature;
        for (let h = 0; h < H; h++) {
          dHidden[i * H + h]! += dz * weight[j * H + h]!;
          if (dWeight) dWeight[j * H + h]! += dz * hidden[i * H + h]!;
        }
      }
    }
  },
  work: ({ N, H, V }) => ({ bytes: 4 * (2 * N! * H! + 3 * V! * H!), flops: 6 * N! * H! * V! + 20 * N! * V! }),
});

/**
 * `head`, `policyLoss` and `headBackward` in one pass over the logits: the gradient of
 * Σ loss + Σ logProbSlopes·logProbs + Σ entropySlopes·entropy.
 *
 *   loss = weights·l(logProbs, oldLogProbs, advantages) + klWeights·kl(logProbs − refLogProbs)
 *   dLogProbs = ∂loss/∂logProbs + logProbSlopes,  dEntropy = entropySlopes
 *
 * Losses are minimised; l and kl are those of `policyLoss`. Weights multiply loss and gradient; the slopes are taken as given
 * and are no part of `loss`. Where kind is reinforce and all advantages are 1 this is weighted cross-entropy. Logits
 * are computed once: those of a chunk of tokens are held until their sums are known.
 *
 * @throws INVALID_ARGUMENT  a target is not below V; the temperature is not positive and finite; kinds, clip distances, taus and
 *                           the lists of the KL term as in policyLoss
 * @throws NON_FINITE        a logit, loss or slope is NaN or infinite, naming its token
 * @source as policyLoss
 */
export const headPolicyLoss = defineKernel({
  name: 'head_policy_loss',
  inputs: {
    hidden: real('N,H'),
    weight: stored('V,H'),
    targets: i32('N'),
    /** of the proximal policy; where there are none it is the policy itself, and every ratio 1 */
    oldLogProbs: real('N?'),
    advantages: real('N'),
    weights: real('N'),
    /** of the frozen reference; not read where klKind is none */
    refLogProbs: real('N?'),
    /** multiply the KL term and its slope; not read where klKind is none */
    klWeights: real('N?'),
    /** ∂(objective)/∂logProbs of each token, besides that of the loss */
    logProbSlopes: real('N'),
    /** ∂(objective)/∂entropy of each token */
    entropySlopes: real('N'),
  },
  updates: { dWeight: real('V,H?') },
  scalars: {
    temperature: number(1),
    /** one of POLICY_LOSS_KINDS */
    kind: integer(POLICY_LOSS_KINDS.ppo),
    clipLow: number(0.2),
    clipHigh: number(0.2),
    /** 0 is off */
    clipDual: number(0),
    tauPositive: number(1),
    tauNegative: number(1.05),
    /** one of KL_KINDS */
    klKind: integer(KL_KINDS.none),
  },
  outputs: { logProbs: real('N'), entropy: real('N'), loss: real('N'), clipped: i32('N'), dHidden: real('N,H') },
  reference({ dWeight, dims, ...args }, out) {
    const { hidden, weight, targets, temperature, entropySlopes } = args;
    const logSumExp = new Float64Array(targets.length);
    head.declaration.reference({ hidden, weight, targets, temperature, dims }, { ...out, logSumExp });
    const dLogProbs = out.loss.map((_, i) => {
      const token = weightedLossReference(i, out.logProbs[i]!, args);
      out.loss[i] = token.loss;
      out.clipped[i] = token.clipped;
      return token.slope + args.logProbSlopes[i]!;
    });
    headBackward.declaration.reference(
      { ...args, dLogProbs, dEntropy: entropySlopes, logSumExp, entropy: out.entropy, dWeight, dims },
      out,
    );
  },
  work: ({ N, H, V }) => ({ bytes: 4 * (2 * N! * H! + 3 * V! * H!), flops: 6 * N! * H! * V! + 40 * N! * V! }),
});

/** hidden[i]·weightᵀ */
function logitsReference(hidden: Float64Array, weight: Float64Array, i: number, H: number): Float64Array {
  const state = hidden.subarray(i * H, (i + 1) * H);
  return Float64Array.from({ length: weight.length / H }, (_, j) =>
    state.reduce((sum, x, h) => sum + x * weight[j * H + h]!, 0),
  );
}

/** Log-probabilities of every id under softmax(logits / temperature), their entropy and the normaliser. */
export function softmaxReference(
  logits: ArrayLike<number>,
  temperature: number,
): { logProbs: Float64Array; entropy: number; logSumExp: number } {
  const z = Float64Array.from(logits, (x) => x / temperature);
  const largest = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSumExp = largest + Math.log(z.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  const logProbs = z.map((x) => x - logSumExp);
  return { logProbs, logSumExp, entropy: logProbs.reduce((sum, x) => sum - (Math.exp(x) && Math.exp(x) * x), 0) };
}
