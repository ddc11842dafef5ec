import { expect, it } from 'vitest';
import { swiglu, swigluBackward } from '../../lib/kernels/swiglu.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testGradient, testKernel } from '../support/testKernel.ts';

const forward = (R: number, I: number, scale = 8) => ({
  gate: shaped(
    randoms(R + I, R, I).map((v) => v * scale),
    R,
    I,
  ),
  up: randoms(3, R, I),
});
const backward = (R: number, I: number) => ({ ...forward(R, I), dY: randoms(4, R, I) });
const none = shaped(new Float64Array(0), 0, 3);
const extremes = { gate: [[-200, -90, -30, -0, 0, 30, 90, 200]], up: [[1, 2, 3, 4, 5, 6, 7, 8]] };

testKernel(swiglu, {
  cases: {
    extremes: extremes,
    one: { gate: [[1]], up: [[2]] },
    none: { gate: none, up: none },
    'not a number, among others': { gate: [[1, Number.NaN, -1]], up: [[1, 1, 1]] },
    'an odd size': forward(3, 7),
    'more than a block': forward(5, 4001),
  },
  tolerance: { f32: 2e-6, f64: 1e-14 }, // gates up to 8 times a sigmoid good to 2e-7; larger ones are relative
});
testKernel(swigluBackward, {
  cases: {
    extremes: { ...extremes, dY: [[1, 1, 1, 1, 1, 1, 1, 1]] },
    none: { dY: none, gate: none, up: none },
    'an odd size': backward(3, 7),
    'more than a block': backward(5, 4001),
  },
  tolerance: { f32: 4e-6, f64: 1e-14 }, // 1 − s loses a rounding of 1, times gates up to 8
});
testGradient(swiglu, swigluBackward, {
  cases: { 'two rows of five': forward(2, 5, 3) },
  upstream: { y: 'dY' },
  gradients: { gate: 'dGate', up: 'dUp' },
});
sameForAnyThreads(swiglu, forward(9, 5000));
sameForAnyThreads(swigluBackward, backward(9, 5000));

it('what is larger than a cache, and written past it, has the bits of its parts', async () => {
  const [R, I, row] = [801, 4096, 4 * 4096];
  const all = { gate: randoms(1, R, I), up: randoms(2, R, I), dY: randoms(3, R, I) };
  const run = async (begin: number, end: number) => {
    const rows = (x: Float64Array<ArrayBuffer>) => shaped(x.slice(begin * I, end * I), end - begin, I);
    const forward = { gate: rows(all.gate), up: rows(all.up) };
    const { y } = await runKernel(swiglu, forward, 'f32');
    const { dGate, dUp } = await runKernel(swigluBackward, { ...forward, dY: rows(all.dY) }, 'f32');
    return [y!, dGate!, dUp!].map((x) => new Uint8Array(x.buffer));
  };
  const whole = await run(0, R);
  for (let begin = 0; begin < R; begin += 100) {
    const end = Math.min(R, begin + 100);
    const parts = await run(begin, end);
    for (const [k, part] of parts.entries())
      expect(Buffer.compare(part, whole[k]!.subarray(begin * row, end * row))).toBe(0);
  }
});
