import { rotary, rotaryTable } from '../../lib/kernels/rotary.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

export default async () => {
  await benchKernel(rotaryTable, {
    sizes: [
      { A: 3, S: 4000, F: 16 },
      { A: 3, S: 4000, F: 64 },
    ],
    generate: ({ A, S, F }) => ({
      positions: Int32Array.from({ length: A! * S! }, (_, i) => i % S!),
      axis: Int32Array.from({ length: F! }, (_, i) => i % A!),
      inverseFrequency: Float32Array.from({ length: F! }, (_, i) => 5e6 ** (-i / F!)),
    }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ positions, axis, inverseFrequency }, { S, F }) {
          const [p, a] = [positions, axis] as Int32Array[];
          const f = inverseFrequency as Float32Array;
          const [cosine, sine] = [new Float32Array(S! * F!), new Float32Array(S! * F!)];
          return () => {
            for (let s = 0; s < S!; s++)
              for (let i = 0; i < F!; i++) {
                const angle = p![a![i]! * S! + s]! * f[i]!;
                cosine[s * F! + i] = Math.cos(angle);
                sine[s * F! + i] = Math.sin(angle);
              }
          };
        },
      },
    ],
  });
  await benchKernel(rotary, {
    sizes: [
      { S: 16_000, N: 4, F: 16 },
      { S: 1000, N: 16, F: 64 },
      { S: 2000, N: 16, F: 36 },
      { S: 16_000, N: 4, F: 12 },
    ],
    generate: ({ S, N, F }) => {
      const angles = randoms(1, S! * F!);
      return {
        cosine: Float32Array.from(angles, Math.cos),
        sine: Float32Array.from(angles, Math.sin),
        x: Float32Array.from(randoms(2, S! * N! * F! * 2)),
      };
    },
    peers: [
      {
        name: 'TypeScript',
        prepare({ cosine, sine, x }, { S, N, F }) {
          const [c, s, a] = [cosine, sine, (x as Float32Array).slice()] as Float32Array[];
          return () => {
            for (let row = 0; row < S!; row++)
              for (let n = 0; n < N!; n++)
                for (let i = 0, at = (row * N! + n) * 2 * F!; i < F!; i++, at++) {
                  const [u, v] = [a![at]!, a![at + F!]!];
                  a![at] = u * c![row * F! + i]! - v * s![row * F! + i]!;
                  a![at + F!] = v * c![row * F! + i]! + u * s![row * F! + i]!;
                }
          };
        },
      },
    ],
  });
};
