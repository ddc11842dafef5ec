import { expect, it } from 'vitest';
import { squaredNorm } from '../../lib/kernels/squaredNorm.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

testKernel(squaredNorm, {
  cases: {
    'equal values': { x: [[2, 2, 2]] },
    one: { x: [[-3]] },
    none: { x: [[]] },
    'no tensor': { x: [] },
    'an odd size': { x: [randoms(1, 101)] },
    'more than a block': { x: [randoms(2, 70001)] },
    'several tensors, one of them empty': { x: [randoms(2, 70001), [], [3], randoms(3, 65536)] },
    'not a number': { x: [[1, Number.NaN, 2], [1]] },
    infinite: { x: [[1], [1, -Infinity, 2]] },
  },
  tolerance: 1e-13, // f64 sums in both variants; squares of f32 are exact in f64
});
for (const variant of ['f32', 'f64'] as const)
  sameForAnyThreads(squaredNorm, { x: [randoms(3, 300001), randoms(4, 7), randoms(5, 70000)] }, variant);

it('squares of large f32 numbers do not overflow', async () => {
  const { sum } = await runKernel(squaredNorm, { x: [[1e30], [1e30]] }, 'f32');
  expect(sum![0]! / 2e60).toBeCloseTo(1, 6);
});
