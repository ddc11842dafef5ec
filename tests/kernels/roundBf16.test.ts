import { expect, it } from 'vitest';
import { roundBf16 } from '../../lib/kernels/roundBf16.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

const given = (sizes: number[]) => ({
  values: sizes.map((n, k) => randoms(k + 1, n)),
  rounded: sizes.map((n) => new Float64Array(n).fill(7)),
});

testKernel(roundBf16, {
  cases: {
    'ties, zeros and what is not finite': {
      values: [
        [1 + 2 ** -8, 1 + 3 * 2 ** -8, -(1 + 2 ** -8), 0, -0, 2 ** -134, 3.4e38, Infinity, -Infinity, Number.NaN],
      ],
      rounded: [new Float64Array(10)],
    },
    'several tensors': given([1, 40_001, 0, 33]),
    'no tensor': given([]),
  },
  tolerance: 0, // there is one right answer
});
sameForAnyThreads(roundBf16, given([50_001, 7]));

it('lists of other lengths are refused', async () => {
  await expect(runKernel(roundBf16, { values: [[1]], rounded: [[1], [2]] }, 'f32')).rejects.toMatchObject({
    code: 'SHAPE_MISMATCH',
  });
});
