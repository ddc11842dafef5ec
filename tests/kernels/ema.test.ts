import { expect, it } from 'vitest';
import { ema, emaExchange } from '../../lib/kernels/ema.ts';
import { sameAsWidened } from '../support/sameAsWidened.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

const lists = (sizes: number[], names: [string, string]) =>
  Object.fromEntries(names.map((name, seed) => [name, sizes.map((n, k) => randoms(seed + 7 * k + 1, n))]));

testKernel(ema, {
  cases: {
    'equals stay': { values: [[1, 2]], averages: [[1, 2]], decay: 0.9 },
    none: { ...lists([0], ['values', 'averages']), decay: 0.9 },
    'no tensor': { values: [], averages: [], decay: 0.9 },
    'several tensors': { ...lists([1, 40_001, 0, 33], ['values', 'averages']), decay: 0.99 },
    'no memory': { ...lists([17], ['values', 'averages']), decay: 0 },
  },
  tolerance: { f32: 2e-7, f64: 4e-16 }, // a difference and a multiply-add of numbers below 1
});
testKernel(emaExchange, {
  cases: { 'several tensors': lists([1, 40_001, 0, 33], ['a', 'b']), none: lists([0], ['a', 'b']) },
  tolerance: 0,
});
sameAsWidened(ema, { several: { ...lists([1, 40_001, 33], ['values', 'averages']), decay: 0.99 } });
sameForAnyThreads(ema, { ...lists([50_001, 7], ['values', 'averages']), decay: 0.9 });
sameForAnyThreads(emaExchange, lists([50_001, 7], ['a', 'b']));

it('lists of other lengths and decays outside [0, 1] are refused', async () => {
  const two = { values: [[1], [2]], averages: [[1], [2]] };
  await expect(runKernel(ema, { ...two, decay: 1.5 }, 'f32')).rejects.toThrow('ema: decay must be in [0, 1]');
  await expect(runKernel(emaExchange, { a: [[1]], b: [[1], [2]] }, 'f32')).rejects.toMatchObject({
    code: 'SHAPE_MISMATCH',
  });
});
