import { expect, it } from 'vitest';
import { expertGroups, router, routerBackward } from '../../lib/kernels/router.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runReference, shaped, testGradient, testKernel, type Case } from '../support/testKernel.ts';

const none = (R: number, A: number) => shaped(new Int32Array(R * A), R, A);
const spread = (seed: number, R: number, E: number) => shaped(randoms(seed, R, E).map((x) => 6 * x), R, E); // prettier-ignore
/** A case of the backward: what the forward chose, and gradients of its weights. */
function behind(forward: Case, R: number, A: number): Case {
  const { chosen, weights } = runReference(router, forward);
  const given = { ...forward, chosen: shaped(chosen as Int32Array<ArrayBuffer>, R, A) };
  return { ...given, weights: shaped(weights as Float64Array<ArrayBuffer>, R, A), dWeights: randoms(9, R, A) };
}
const cases = {
  'equals: the lower one': { logits: [[1, 3, 3, 3, 2], [0, 0, 0, 0, 0]], chosen: none(2, 2) }, // prettier-ignore
  one: { logits: [[-4]], chosen: none(1, 1) },
  'no rows': { logits: randoms(1, 0, 8), chosen: none(0, 2) },
  'all of them': { logits: spread(2, 3, 4), chosen: none(3, 4) },
  'far apart': { logits: [[-90, 0, 700, -700, 20]], chosen: none(1, 3) },
  odd: { logits: spread(3, 131, 37), chosen: none(131, 5) },
  '128 of which 8': { logits: spread(4, 70, 128), chosen: none(70, 8) },
  'not normalised': { logits: spread(5, 70, 33), chosen: none(70, 3), normalise: false },
};
const tolerance = { f32: 1e-6, f64: 1e-14 }; // exponentials to 2e-7 and 4e-16, and their sum
testKernel(router, { cases, tolerance });
testKernel(routerBackward, {
  cases: {
    one: behind(cases.one, 1, 1),
    odd: behind(cases.odd, 131, 5),
    'not normalised': behind(cases['not normalised'], 70, 3),
  },
  tolerance,
});
const gradientCases = Object.fromEntries(
  [true, false].map((normalise) => {
    const forward = { logits: spread(6, 4, 7), chosen: none(4, 3), normalise };
    const { chosen } = runReference(router, forward);
    return [normalise ? 'normalised' : 'not normalised', { ...forward, chosen: shaped(chosen as Int32Array<ArrayBuffer>, 4, 3) }]; // prettier-ignore
  }),
);
testGradient(router, routerBackward, { cases: gradientCases, upstream: { weights: 'dWeights' }, gradients: { logits: 'dLogits' } }); // prettier-ignore
sameForAnyThreads(router, { logits: spread(7, 1000, 64), chosen: none(1000, 6) });

const pairs = (R: number, A: number, E: number) =>
  shaped(Int32Array.from(randoms(8, R * A), (x) => Math.floor(((x + 1) / 2) * E)), R, A); // prettier-ignore
testKernel(expertGroups, {
  cases: {
    'experts without rows': { chosen: [[4, 1], [1, 4], [4, 0]], starts: new Int32Array(7) }, // prettier-ignore
    one: { chosen: [[0]], starts: [5, 5] },
    none: { chosen: none(0, 2), starts: new Int32Array(4) },
    'an odd size': { chosen: pairs(333, 3, 17), starts: new Int32Array(18) },
  },
  tolerance: 0,
});

it('refuses more experts than there are, and experts that there are not', async () => {
  const logits = tensor(new Float32Array(6), [2, 3]);
  const wide = tensor(new Int32Array(8), [2, 4]);
  await expect(router({ logits, chosen: wide }).weights.read()).rejects.toThrow(/must be in \[1, E\]/);
  const starts = zeros('i32', [4]);
  const strange = tensor(Int32Array.of(0, 3), [1, 2]);
  await expect(expertGroups({ chosen: strange, starts }).order.read()).rejects.toThrow(
    /chosen\[1\] must be in \[0, 3\); got 3/,
  );
});
