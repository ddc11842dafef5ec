import { segmentStatistics } from '../../lib/kernels/segmentStatistics.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

export default () =>
  benchKernel(segmentStatistics, {
    sizes: [
      { B: 4096, S: 512 },
      { B: 1_000_000, S: 6 },
    ],
    generate: ({ B, S }) => ({
      values: randoms(1, B!),
      segmentStarts: Int32Array.from({ length: S! + 1 }, (_, s) => Math.floor((s * B!) / S!)),
    }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ values, segmentStarts }, { S }) {
          const v = values as Float64Array;
          const starts = segmentStarts as Int32Array;
          const out = new Float64Array(4 * S!);
          return () => {
            for (let s = 0; s < S!; s++) {
              let [sum, low, high, squares] = [0, Infinity, -Infinity, 0];
              for (let i = starts[s]!; i < starts[s + 1]!; i++) {
                sum += v[i]!;
                if (v[i]! < low) low = v[i]!;
                if (v[i]! > high) high = v[i]!;
              }
              const mean = sum / (starts[s + 1]! - starts[s]!);
              for (let i = starts[s]!; i < starts[s + 1]!; i++) squares += (v[i]! - mean) * (v[i]! - mean);
              out[4 * s] = mean;
              out[4 * s + 1] = squares / (starts[s + 1]! - starts[s]!);
              out[4 * s + 2] = low;
              out[4 * s + 3] = high;
            }
          };
        },
      },
    ],
  });
