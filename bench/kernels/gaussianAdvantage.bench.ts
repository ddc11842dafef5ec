import { gaussianAdvantage } from '../../lib/kernels/gaussianAdvantage.ts';
import { normalQuantileReference } from '../../lib/kernels/normalQuantile.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

/** Insertion sort within typed arrays, quantiles from prefix sums per size of segment: as fast as we can write it. */
const typescript: Peer = {
  name: 'TypeScript',
  prepare({ rewards, segmentStarts }) {
    const [x, starts] = [rewards as Float64Array, segmentStarts as Int32Array];
    const out = new Float64Array(x.length);
    const sums = new Map<number, Float64Array>();
    const order = new Int32Array(x.length);
    const sumsOf = (n: number) => {
      let s = sums.get(n);
      if (!s) {
        s = new Float64Array(n + 1);
        for (let r = 0; r < n; r++) s[r + 1] = s[r]! + normalQuantileReference((r + 0.5) / n);
        sums.set(n, s);
      }
      return s;
    };
    return () => {
      for (let s = 0; s + 1 < starts.length; s++) {
        const start = starts[s]!;
        const n = starts[s + 1]! - start;
        if (n > 64) {
          const sorted = Uint32Array.from({ length: n }, (_, i) => start + i).sort((i, j) => x[i]! - x[j]!);
          order.set(sorted);
        } else {
          for (let i = 0; i < n; i++) {
            const v = x[start + i]!;
            let k = i;
            for (; k > 0 && x[order[k - 1]!]! > v; k--) order[k] = order[k - 1]!;
            order[k] = start + i;
          }
        }
        const sum = sumsOf(n);
        for (let b = 0, e = 1; b < n; b = e++) {
          const v = x[order[b]!]!;
          while (e < n && x[order[e]!] === v) e++;
          const mean = (sum[e]! - sum[b]!) / (e - b);
          for (let r = b; r < e; r++) out[order[r]!] = mean;
        }
      }
    };
  },
};

/** S segments that hold B rewards: of one size, or ragged with sizes between half and one and a half times the mean. */
function starts(B: number, S: number, ragged: boolean): Int32Array<ArrayBuffer> {
  const jitter = randoms(5, S + 1);
  return Int32Array.from({ length: S + 1 }, (_, s) =>
    s === 0 || s === S ? (s * B) / S : Math.round((B / S) * (s + (ragged ? jitter[s]! / 4 : 0))),
  );
}

export default () =>
  benchKernel(gaussianAdvantage, {
    sizes: [
      { B: 32_768, S: 4096, ragged: 0 },
      { B: 32_768, S: 4096, ragged: 1 },
      { B: 65_536, S: 4096, ragged: 0 },
      { B: 65_536, S: 1024, ragged: 1 },
      { B: 1_048_576, S: 1024, ragged: 0 },
    ],
    generate: ({ B, S, ragged }) => ({ rewards: randoms(7, B!), segmentStarts: starts(B!, S!, ragged === 1) }),
    peers: [typescript],
  });
