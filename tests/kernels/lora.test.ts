import { loraBackward, loraMerge } from '../../lib/kernels/lora.ts';
import { linear } from '../../lib/kernels/linear.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { expectClose, randoms, runReference, shaped, testKernel } from '../support/testKernel.ts';
import { it } from 'vitest';

const merging = (N: number, K: number, R: number) => ({
  base: randoms(1, N, K),
  a: randoms(2, R, K),
  b: randoms(3, N, R),
  merged: randoms(4, N, K),
  scale: 0.5,
});
const backward = (M: number, N: number, K: number, R: number) => ({
  dY: shaped(
    randoms(1, M, N).map((v) => v / Math.sqrt(M * N || 1)),
    M,
    N,
  ),
  x: shaped(
    randoms(2, M, K).map((v) => v / Math.sqrt(K || 1)),
    M,
    K,
  ),
  a: randoms(3, R, K),
  b: randoms(4, N, R),
  dA: randoms(5, R, K),
  dB: randoms(6, N, R),
  scale: 2,
});
const tolerance = { f32: 1e-5, f64: 1e-12 }; // sums of order one

testKernel(loraMerge, {
  cases: {
    one: { base: [[1]], a: [[2]], b: [[-3]], merged: [[Number.NaN]], scale: 0.25 },
    'no rows': merging(0, 4, 2),
    odd: merging(37, 21, 3),
    'several tiles': merging(130, 270, 16),
  },
  tolerance,
});
testKernel(loraBackward, {
  cases: {
    one: { dY: [[2]], x: [[3]], a: [[5]], b: [[7]], dA: [[1]], dB: [[1]], scale: 0.5 },
    'no rows change nothing': backward(0, 5, 4, 2),
    odd: backward(19, 37, 21, 3),
    'several tiles': backward(230, 130, 70, 16),
  },
  tolerance,
});
sameForAnyThreads(loraMerge, merging(300, 260, 8));
sameAsWidened(loraMerge, { odd: merging(37, 29, 3), large: merging(300, 260, 8) });
sameForAnyThreads(loraBackward, backward(400, 300, 260, 8));

it('the gradient is that of finite differences of a linear map of the merged weight', () => {
  const c = backward(4, 3, 5, 2);
  const base = randoms(9, 3, 5);
  const objective = (a: Float64Array<ArrayBuffer>, b: Float64Array<ArrayBuffer>) => {
    const merged = runReference(loraMerge, {
      base,
      a: shaped(a, 2, 5),
      b: shaped(b, 3, 2),
      merged: randoms(1, 3, 5),
      scale: c.scale,
    });
    const { y } = runReference(linear, { x: c.x, weight: shaped(merged['merged'] as Float64Array<ArrayBuffer>, 3, 5) });
    return (y as Float64Array).reduce((sum, v, i) => sum + v * c.dY[i]!, 0);
  };
  const zero = { dA: shaped(new Float64Array(10), 2, 5), dB: shaped(new Float64Array(6), 3, 2) };
  const { dA, dB } = runReference(loraBackward, { ...c, ...zero });
  const moved = (x: Float64Array<ArrayBuffer>, i: number, by: number) => x.map((v, j) => (i === j ? v + by : v));
  const h = 1e-5;
  const numericA = c.a.map((_, i) => (objective(moved(c.a, i, h), c.b) - objective(moved(c.a, i, -h), c.b)) / (2 * h));
  const numericB = c.b.map((_, i) => (objective(c.a, moved(c.b, i, h)) - objective(c.a, moved(c.b, i, -h))) / (2 * h));
  expectClose('dA', dA!, numericA, 1e-8); // rounding of differences of numbers near 1
  expectClose('dB', dB!, numericB, 1e-8);
});
