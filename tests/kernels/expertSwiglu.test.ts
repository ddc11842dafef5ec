import { expect, it } from 'vitest';
import { expertSwiglu, expertSwigluBackward } from '../../lib/kernels/expertSwiglu.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, shaped, testGradient, testKernel } from '../support/testKernel.ts';

/** P rows of width I, whose pairs stand in another order. */
const rows = (P: number, I: number) => ({
  gateUp: shaped(randoms(1, P, 2 * I).map((x) => 4 * x), P, 2 * I), // prettier-ignore
  weights: randoms(2, P),
  order: Int32Array.from({ length: P }, (_, p) => (p * 7 + 3) % P),
});
const cases = {
  one: { gateUp: [[-2, 3]], weights: [0.5], order: [0] },
  none: { gateUp: randoms(1, 0, 8), weights: [], order: [] },
  'a weight of 0, and equals': { gateUp: [[1, 1, 2, 2], [1, 1, 2, 2]], weights: [0, 0.25], order: [1, 0] }, // prettier-ignore
  'no width': { gateUp: randoms(1, 3, 0), weights: [1, 2, 3], order: [2, 0, 1] },
  odd: rows(131, 37),
  'several blocks': rows(101, 768),
};
const withGradient = (name: keyof typeof cases, P: number, I: number) => ({ ...cases[name], dY: randoms(3, P, I) });
testKernel(expertSwiglu, { cases, tolerance: { f32: 2e-6, f64: 2e-15 } }); // a product of four, and the exponential
testKernel(expertSwigluBackward, {
  cases: {
    one: withGradient('one', 1, 1),
    none: withGradient('none', 0, 4),
    'no width': withGradient('no width', 3, 0),
    odd: withGradient('odd', 131, 37),
    'several blocks': withGradient('several blocks', 101, 768),
  },
  tolerance: { f32: 2e-5, f64: 2e-13 }, // sums of up to 768 products of order ten
});
const gradientCases = { odd: rows(5, 3) };
testGradient(expertSwiglu, expertSwigluBackward, { cases: gradientCases, upstream: { y: 'dY' }, gradients: { gateUp: 'dGateUp', weights: 'dWeights' } }); // prettier-ignore
sameForAnyThreads(expertSwiglu, rows(1000, 96));
sameForAnyThreads(expertSwigluBackward, { ...rows(1000, 96), dY: randoms(3, 1000, 96) });

it('refuses a pair that there is not', async () => {
  const gateUp = tensor(new Float32Array(4), [2, 2]);
  const { y } = expertSwiglu({ gateUp, weights: new Float32Array(2), order: Int32Array.of(0, 2) });
  await expect(y.read()).rejects.toThrow(/order\[1\] must be in \[0, 2\); got 2/);
});
