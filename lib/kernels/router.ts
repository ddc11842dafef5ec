import { defineKernel, flag, i32, real } from './defineKernel.ts';

const softmax = (z: Float64Array): Float64Array => {
  const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const e = z.map((x) => Math.exp(x - top));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / total);
};

/**
 * The weights with which a row goes through the A most probable of E experts; `chosen` is filled with these experts, the most
 * probable first. Of equals the lower one is chosen.
 *
 *   p = softmax(logits)      w_a = p[chosen[a]], divided by their sum if they are normalised
 *
 * @throws INVALID_ARGUMENT  A is not in [1, E]
 */
export const router = defineKernel({
  name: 'router',
  inputs: { logits: real('R,E') },
  updates: { chosen: i32('R,A') },
  scalars: { normalise: flag(true) },
  outputs: { weights: real('R,A') },
  reference({ logits, chosen, normalise, dims }, { weights }) {
    const [E, A] = [dims['E']!, dims['A']!];
    for (let r = 0; r < dims['R']!; r++) {
      const z = logits.slice(r * E, (r + 1) * E);
      const p = softmax(z);
      const best = Array.from(z.keys()).sort((i, j) => z[j]! - z[i]! || i - j).slice(0, A); // prettier-ignore
      const total = normalise ? best.reduce((s, e) => s + p[e]!, 0) : 1;
      best.forEach((e, a) => {
        chosen[r * A + a] = e;
        weights[r * A + a] = p[e]! / total;
      });
    }
  },
  work: ({ R, E, A }) => ({ bytes: 4 * R! * (E! + 2 * A!), flops: 20 * R! * E! }),
});

/**
 * The gradient of {@link router}; which experts are chosen has none.
 *
 *   normalised: dLogits_e = w_e · (dW_e − Σₐ wₐ·dWₐ) for the chosen, 0 for the others
 *   otherwise:  dLogits_e = p_e · (dW_e − Σₐ wₐ·dWₐ), with dW_e = 0 for those that are not chosen
 *
 * @throws INVALID_ARGUMENT  a chosen expert is not in [0, E)
 */
export const routerBackward = defineKernel({
  name: 'router_backward',
  inputs: { dWeights: real('R,A'), logits: real('R,E'), chosen: i32('R,A'), weights: real('R,A') },
  scalars: { normalise: flag(true) },
  outputs: { dLogits: real('R,E') },
  reference({ dWeights, logits, chosen, weights, normalise, dims }, { dLogits }) {
    const [E, A] = [dims['E']!, dims['A']!];
    for (let r = 0; r < dims['R']!; r++) {
      const at = (a: number) => r * A + a;
      let mean = 0;
      for (let a = 0; a < A; a++) mean += weights[at(a)]! * dWeights[at(a)]!;
      if (!normalise) softmax(logits.slice(r * E, (r + 1) * E)).forEach((p, e) => (dLogits[r * E + e] = -p * mean));
      for (let a = 0; a < A; a++) dLogits[r * E + chosen[at(a)]!] = weights[at(a)]! * (dWeights[at(a)]! - mean);
    }
  },
  work: ({ R, E, A }) => ({ bytes: 4 * R! * (2 * E! + 3 * A!), flops: 4 * R! * A! }),
});

/**
 * Pairs of a row and an expert in the order of their experts, and of the rows of one expert as they come: the pair that stands at
 * place p, r·A + a, and its row. `starts` is filled with the place where each expert begins.
 *
 * @throws INVALID_ARGUMENT  a chosen expert is not in [0, E)
 */
export const expertGroups = defineKernel({
  name: 'expert_groups',
  inputs: { chosen: i32('R,A') },
  updates: { starts: i32('E+1') },
  outputs: { order: i32('R,A'), rows: i32('R,A') },
  reference({ chosen, starts, dims }, { order, rows }) {
    const pairs = Array.from(chosen.keys()).sort((i, j) => chosen[i]! - chosen[j]! || i - j);
    for (let e = 0; e <= dims['E']!; e++) starts[e] = chosen.filter((c) => c < e).length;
    pairs.forEach((pair, p) => {
      order[p] = pair;
      rows[p] = Math.floor(pair / dims['A']!);
    });
  },
  work: ({ R, A }) => ({ bytes: 12 * R! * A!, flops: 0 }),
});
