import { geluErf, geluErfBackward, geluTanh, geluTanhBackward } from '../../lib/kernels/gelu.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const forward = (R: number, I: number, scale = 5) => ({
  x: shaped(
    randoms(R + I, R, I).map((v) => v * scale),
    R,
    I,
  ),
});
const backward = (R: number, I: number) => ({ ...forward(R, I), dY: randoms(4, R, I) });
const none = shaped(new Float64Array(0), 0, 3);
const extremes = { x: [[-1e4, -40, -14.5, -9, -1e-7, -0, 0, 1e-7, 2, 9, 14.5, 40, 1e4]] };
const cases = {
  extremes,
  one: { x: [[1]] },
  none: { x: none },
  'not a number, among others': { x: [[1, Number.NaN, -1]] },
  'an odd size': forward(3, 7),
  'more than a block': forward(5, 4001),
};
const backwardCases = {
  extremes: { ...extremes, dY: [extremes.x[0]!.map(() => 1)] },
  none: { dY: none, x: none },
  'not a number, among others': { x: [[1, Number.NaN, -1]], dY: [[1, 1, 1]] },
  'an odd size': backward(3, 7),
  'more than a block': backward(5, 4001),
};

for (const [kernel, gradient] of [
  [geluTanh, geluTanhBackward],
  [geluErf, geluErfBackward],
] as const) {
  testKernel(kernel, { cases, tolerance: { f32: 1e-6, f64: 1e-14 } }); // |x| ≤ 5 times a distribution good to 2e-7; larger x relative
  testKernel(gradient, { cases: backwardCases, tolerance: { f32: 2e-6, f64: 1e-14 } }); // slopes up to 8 times a rounding of 1
  testGradient(kernel, gradient, {
    cases: { 'two rows of five': forward(2, 5, 3) },
    upstream: { y: 'dY' },
    gradients: { x: 'dX' },
  });
  sameForAnyThreads(kernel, forward(9, 5000));
  sameForAnyThreads(gradient, backward(9, 5000));
}
