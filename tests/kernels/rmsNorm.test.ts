import { expect, it } from 'vitest';
import { rmsNorm, rmsNormBackward } from '../../lib/kernels/rmsNorm.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const forward = (R: number, D: number) => ({ x: randoms(R + D, R, D), weight: randoms(3, D) });
const backward = (R: number, D: number, withResidual = true) => ({
  ...forward(R, D),
  dY: randoms(5, R, D),
  rstd: randoms(6, R).map((v) => 1.5 + v / 2),
  dWeight: randoms(7, D),
  ...(withResidual && { residual: randoms(8, R, D) }),
});
const none = shaped(new Float64Array(0), 0, 3);

testKernel(rmsNorm, {
  cases: {
    'equal values': { x: [[2, 2, 2]], weight: [1, 2, 3] },
    'all zero': { x: [[0, 0, 0, 0]], weight: [1, 2, 3, 4] },
    one: { x: [[-3]], weight: [0.5], epsilon: 1e-5 },
    none: { x: none, weight: [1, 2, 3] },
    'heads of 32': forward(301, 32),
    'an odd width': forward(7, 101),
    'more than a block of rows': forward(400, 128),
    'a wide row': forward(3, 4099),
  },
  tolerance: { f32: 2e-6, f64: 1e-13 }, // a mean of squares over at most 4099 elements, one root, three products
});

testKernel(rmsNormBackward, {
  cases: {
    one: { dY: [[2]], x: [[-3]], weight: [0.5], rstd: [1 / 3], dWeight: [1] },
    none: { dY: none, x: none, weight: [1, 2, 3], rstd: [], dWeight: [4, 5, 6] },
    'heads of 32': backward(301, 32),
    'an odd width, no residual': backward(7, 101, false),
    'more than a block of rows': backward(400, 128),
    'a wide row': backward(3, 4099),
    'a frozen weight': { ...backward(70, 32), dWeight: undefined },
  },
  tolerance: { f32: 1e-5, f64: 1e-13 }, // sums over up to 400 rows of terms near 1
});

testGradient(rmsNorm, rmsNormBackward, {
  cases: { 'three rows of five': { ...forward(3, 5), epsilon: 0.01 } },
  upstream: { y: 'dY' },
  gradients: { x: 'dX', weight: 'dWeight' },
});

sameForAnyThreads(rmsNorm, forward(2000, 32));
sameForAnyThreads(rmsNormBackward, backward(2000, 32));

it('rows without elements are refused', async () => {
  const x = shaped(new Float64Array(0), 2, 0);
  await expect(runKernel(rmsNorm, { x, weight: [] }, 'f32')).rejects.toThrow('rms_norm: D must be at least 1; got 0');
});
