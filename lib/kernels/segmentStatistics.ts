import { defineKernel, f64, i32 } from './defineKernel.ts';

/**
 * Mean, population variance, minimum and maximum of every segment.
 *
 *   mean = Σ v / n      variance = Σ (v − mean)² / n
 *
 * Equal values have a variance of exactly 0, and their mean is exactly their value. A segment without values gives four NaN, and so
 * does one that holds a NaN.
 *
 * @throws INVALID_ARGUMENT  segmentStarts does not rise from 0 to B
 */
export const segmentStatistics = defineKernel({
  name: 'segment_statistics',
  inputs: {
    values: f64('B'),
    /** offsets from 0 to B, never falling; segment s is [starts[s], starts[s+1]) */
    segmentStarts: i32('S+1'),
  },
  outputs: { mean: f64('S'), variance: f64('S'), minimum: f64('S'), maximum: f64('S') },
  reference({ values, segmentStarts }, { mean, variance, minimum, maximum }) {
    for (let s = 0; s + 1 < segmentStarts.length; s++) {
      const segment = values.subarray(segmentStarts[s], segmentStarts[s + 1]);
      const n = segment.length;
      const unknown = n === 0 || segment.some(Number.isNaN);
      minimum[s] = unknown ? Number.NaN : segment.reduce((a, b) => Math.min(a, b));
      maximum[s] = unknown ? Number.NaN : segment.reduce((a, b) => Math.max(a, b));
      const equal = minimum[s] === maximum[s];
      const m = (mean[s] = unknown ? Number.NaN : equal ? minimum[s]! : segment.reduce((a, b) => a + b) / n);
      variance[s] = equal ? 0 : segment.reduce((sum, v) => sum + (v - m) ** 2, 0) / n;
    }
  },
  work: ({ B, S }) => ({ bytes: 8 * B! + 36 * S!, flops: 6 * B! }),
});
