import { expect, it } from 'vitest';
import { layerNorm, layerNormBackward } from '../../lib/kernels/layerNorm.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const forward = (R: number, D: number, offset = 0) => ({
  x: shaped(
    randoms(R + D, R, D).map((v) => v + offset),
    R,
    D,
  ),
  weight: randoms(3, D),
  bias: randoms(4, D),
});
const backward = (R: number, D: number, withResidual = true) => ({
  ...forward(R, D),
  dY: randoms(5, R, D),
  mean: randoms(9, R),
  rstd: randoms(6, R).map((v) => 1.5 + v / 2),
  dWeight: randoms(7, D),
  dBias: randoms(10, D),
  ...(withResidual && { residual: randoms(8, R, D) }),
});
const none = shaped(new Float64Array(0), 0, 3);

testKernel(layerNorm, {
  cases: {
    'equal values': { x: [[2, 2, 2]], weight: [1, 2, 3], bias: [4, 5, 6] },
    one: { x: [[-3]], weight: [0.5], bias: [7], epsilon: 1e-5 },
    none: { x: none, weight: [1, 2, 3], bias: [4, 5, 6] },
    'rows of 96': forward(301, 96),
    'an odd width': forward(7, 101),
    'more than a block of rows': forward(400, 128),
    'a wide row': forward(3, 4099),
  },
  tolerance: { f32: 3e-6, f64: 1e-13 }, // means over at most 4099 elements, one root, three products
});
testKernel(layerNorm, {
  cases: { 'a large common offset': forward(5, 64, 1000) },
  tolerance: { f32: 3e-4, f64: 1e-12 }, // inputs near 1000 have a spacing of 6e-5 in f32, and so has their mean
});

testKernel(layerNormBackward, {
  cases: {
    one: { dY: [[2]], x: [[-3]], weight: [0.5], mean: [-3], rstd: [10], dWeight: [1], dBias: [2] },
    none: { dY: none, x: none, weight: [1, 2, 3], mean: [], rstd: [], dWeight: [4, 5, 6], dBias: [7, 8, 9] },
    'rows of 96': backward(301, 96),
    'an odd width, no residual': backward(7, 101, false),
    'more than a block of rows': backward(400, 128),
    'a wide row': backward(3, 4099),
    'a frozen weight': { ...backward(70, 32), dWeight: undefined },
    'a frozen bias': { ...backward(70, 32), dBias: undefined },
  },
  tolerance: { f32: 1e-5, f64: 1e-13 }, // sums over up to 400 rows of terms near 1
});

testGradient(layerNorm, layerNormBackward, {
  cases: { 'three rows of five': { ...forward(3, 5), epsilon: 0.01 } },
  upstream: { y: 'dY' },
  gradients: { x: 'dX', weight: 'dWeight', bias: 'dBias' },
});

sameForAnyThreads(layerNorm, forward(700, 96));
sameForAnyThreads(layerNormBackward, backward(700, 96));

it('rows without elements are refused', async () => {
  const x = shaped(new Float64Array(0), 2, 0);
  await expect(runKernel(layerNorm, { x, weight: [], bias: [] }, 'f32')).rejects.toThrow(
    'layer_norm: D must be at least 1; got 0',
  );
});
