import { defineKernel, i32, integer, number, real, u8 } from './defineKernel.ts';
import { softmaxReference } from './head.ts';
import { philox4x32, type Words } from './philox.ts';

/**
 * One sampled id per row of logits, with its log-probability and the entropy.
 *
 * In this order: the logits of ids already seen are divided by the repetition penalty if positive and multiplied if negative;
 * ids that are not allowed are banned; the temperature divides; top-k keeps the k largest and all that are tied with the
 * k-th; top-p keeps the shortest prefix, in falling order and lower ids first among equals, whose probabilities reach p,
 * and at least one id. Among what is left id v is drawn with its probability, as
 *
 *   token = argmaxᵥ pᵥ / Eᵥ,  Eᵥ = −log(1 − uᵥ),  uᵥ = (bits + ½) / 2³¹        (pᵥ and Gumbel noise, by another name)
 *
 * where the bits are the upper 31 of word (v mod 64) / 16 of Philox4x32-10 under the key (seed, step) and the counter
 * (rollout, token, 16·(v / 64) + v mod 16, 0). So a token depends on its logits and its key alone: not on the rest of the
 * batch, nor on threads; other instruction sets round otherwise and may differ where two scores are equal to six digits.
 * Temperature 0 takes the largest logit, of equals the lowest id, and reads no randomness, top-k or top-p.
 *
 * `logProbs` and `entropy` are those of softmax(logits / temperature) over the whole vocabulary, without penalty, bans or
 * filters, as the trainer computes them; at temperature 0 those at temperature 1.
 *
 * @throws INVALID_ARGUMENT  temperature negative or infinite; topK negative; topP outside (0, 1]; repetitionPenalty not positive
 * @throws NON_FINITE        a row holds NaN or +∞, or no id that is allowed has a probability above 0; the row is named
 */
export const sample = defineKernel({
  name: 'sample',
  inputs: {
    logits: real('B,V'),
    /** 1 for ids in the row's prompt or response so far: those that the repetition penalty concerns */
    seen: u8('B,V?'),
    /** 0 bans an id in every row */
    allowed: u8('V?'),
    /** seed, step, rollout and token of each row; all 32 bits count */
    keys: i32('B,4'),
  },
  scalars: {
    temperature: number(1),
    /** 0 is off */
    topK: integer(0),
    /** 1 is off */
    topP: number(1),
    /** 1 is off */
    repetitionPenalty: number(1),
  },
  outputs: { tokens: i32('B'), logProbs: real('B'), entropy: real('B') },
  reference({ logits, seen, allowed, keys, temperature, topK, topP, repetitionPenalty, dims }, out) {
    const V = dims['V']!;
    for (let row = 0; row < out.tokens.length; row++) {
      const raw = Array.from(logits.subarray(row * V, (row + 1) * V));
      const adjusted = raw.map((z, v) => {
        if (allowed && !allowed[v]) return -Infinity;
        return (seen?.[row * V + v] ? (z > 0 ? z / repetitionPenalty : z * repetitionPenalty) : z) / (temperature || 1);
      });
      const order = adjusted.map((_, v) => v).sort((a, b) => adjusted[b]! - adjusted[a]! || a - b);
      let token = order[0]!;
      if (temperature > 0) {
        let kept = order;
        if (topK > 0 && topK < V) kept = kept.filter((v) => adjusted[v]! >= adjusted[order[topK - 1]!]!);
        const weights = kept.map((v) => Math.exp(adjusted[v]! - adjusted[token]!));
        const total = weights.reduce((a, b) => a + b, 0);
        let reached = 0;
        if (topP < 1) kept = kept.filter((_, i) => i === 0 || (reached += weights[i - 1]!) < topP * total);
        const largest = adjusted[token]!; // beside which large logits leave room for what is drawn
        const scores = kept.map(
          (v) => adjusted[v]! - largest - Math.log(exponentialReference(keys.subarray(row * 4, row * 4 + 4), v)),
        );
        token = kept[scores.indexOf(scores.reduce((a, b) => Math.max(a, b)))]!;
      }
      out.tokens[row] = token;
      const { logProbs, entropy } = softmaxReference(raw, temperature || 1);
      out.logProbs[row] = logProbs[token]!;
      out.entropy[row] = entropy;
    }
  },
  work: ({ B, V }) => ({ bytes: 4 * B! * V!, flops: 60 * B! * V! }),
});

function exponentialReference([seed, step, rollout, token]: Int32Array, v: number): number {
  const counter: Words = [rollout!, token!, 16 * Math.floor(v / 64) + (v % 16), 0];
  const word = philox4x32(counter, [seed!, step!])[Math.floor((v % 64) / 16)]!;
  return -Math.log1p(-((word >>> 1) + 0.5) / 2 ** 31);
}
