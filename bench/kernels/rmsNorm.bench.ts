import { rmsNorm, rmsNormBackward } from '../../lib/kernels/rmsNorm.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
/** heads of 32 and 128, rows of a small and of a large model */
const sizes = [
  { R: 50_000, D: 32 },
  { R: 16_000, D: 128 },
  { R: 4000, D: 96 },
  { R: 4096, D: 2048 },
];

const typescript: Peer = {
  name: 'TypeScript',
  prepare({ x, weight }, { R, D }) {
    const [a, w] = [x, weight] as Float32Array[];
    const y = new Float32Array(R! * D!);
    return () => {
      for (let r = 0, at = 0; r < R!; r++, at += D!) {
        let sum = 0;
        for (let i = 0; i < D!; i++) sum += a![at + i]! * a![at + i]!;
        const rstd = 1 / Math.sqrt(sum / D! + 1e-6);
        for (let i = 0; i < D!; i++) y[at + i] = w![i]! * a![at + i]! * rstd;
      }
    };
  },
};

export default async () => {
  const generate = ({ R, D }: Record<string, number>) => ({ x: f32(1, R! * D!), weight: f32(2, D!) });
  await benchKernel(rmsNorm, { sizes, generate, peers: [typescript] });
  await benchKernel(rmsNormBackward, {
    sizes,
    generate: ({ R, D }) => ({
      ...generate({ R: R!, D: D! }),
      dY: f32(3, R! * D!),
      rstd: f32(4, R!),
      dWeight: new Float32Array(D!),
    }),
  });
};
