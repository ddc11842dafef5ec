import { expect, it } from 'vitest';
import { segmentStatistics } from '../../lib/kernels/segmentStatistics.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, testKernel } from '../support/testKernel.ts';

const ragged = (seed: number, count: number, largest: number) => {
  const segmentStarts = [0];
  for (const v of randoms(seed, count))
    segmentStarts.push(segmentStarts.at(-1)! + Math.floor(((v + 1) / 2) * (largest + 1)));
  return { values: randoms(seed + 1, segmentStarts.at(-1)!), segmentStarts };
};

testKernel(segmentStatistics, {
  cases: {
    'all equal, one alone, none at all': { values: [0.1, 0.1, 0.1, 5], segmentStarts: [0, 3, 4, 4] },
    'no values': { values: [], segmentStarts: [0, 0] },
    'no segments': { values: [], segmentStarts: [0] },
    'a NaN, in its segment only': { values: [1, Number.NaN, 3, 4, 6], segmentStarts: [0, 3, 5] },
    infinities: { values: [1, Infinity, Infinity, -Infinity, 2, Infinity, Infinity], segmentStarts: [0, 2, 5, 7] },
    '1000 ragged segments up to 30': ragged(1, 1000, 30),
    'long segments': ragged(5, 3, 5000),
  },
  tolerance: 1e-13, // sums of at most 5000 terms below 1, in another order
});
sameForAnyThreads(segmentStatistics, ragged(3, 2000, 30));

it('a large common offset costs no precision of the variance', async () => {
  const { variance } = await runKernel(
    segmentStatistics,
    { values: [1e9, 1e9 + 1, 1e9 + 2], segmentStarts: [0, 3] },
    'f64',
  );
  expect(variance![0]).toBeCloseTo(2 / 3, 12);
});

it('equal values have a variance of exactly 0 and are their own mean', async () => {
  for (const n of [3, 7, 10, 33]) {
    const result = await runKernel(
      segmentStatistics,
      { values: Array<number>(n).fill(0.1), segmentStarts: [0, n] },
      'f64',
    );
    expect(result).toEqual({
      mean: Float64Array.of(0.1),
      variance: Float64Array.of(0),
      minimum: Float64Array.of(0.1),
      maximum: Float64Array.of(0.1),
    });
  }
});

it('segment starts that fall, or do not cover the values, are refused', async () => {
  for (const segmentStarts of [
    [0, 3, 2, 4],
    [1, 4],
    [0, 3],
    [0, 5],
    [-1, 4],
  ])
    await expect(runKernel(segmentStatistics, { values: [1, 2, 3, 4], segmentStarts }, 'f64')).rejects.toThrow(
      'segment_statistics: segmentStarts must rise from 0 to the number of values',
    );
});
