import { layerNorm, layerNormBackward } from '../../lib/kernels/layerNorm.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
const sizes = [
  { R: 8000, D: 96 },
  { R: 2000, D: 1152 },
  { R: 500, D: 4608 },
];

const typescript: Peer = {
  name: 'TypeScript',
  prepare({ x, weight, bias }, { R, D }) {
    const [a, w, b] = [x, weight, bias] as Float32Array[];
    const y = new Float32Array(R! * D!);
    return () => {
      for (let r = 0, at = 0; r < R!; r++, at += D!) {
        let sum = 0;
        for (let i = 0; i < D!; i++) sum += a![at + i]!;
        const mean = sum / D!;
        let squares = 0;
        for (let i = 0; i < D!; i++) squares += (a![at + i]! - mean) * (a![at + i]! - mean);
        const rstd = 1 / Math.sqrt(squares / D! + 1e-6);
        for (let i = 0; i < D!; i++) y[at + i] = w![i]! * (a![at + i]! - mean) * rstd + b![i]!;
      }
    };
  },
};

export default async () => {
  const generate = ({ R, D }: Record<string, number>) => ({ x: f32(1, R! * D!), weight: f32(2, D!), bias: f32(3, D!) });
  await benchKernel(layerNorm, { sizes, generate, peers: [typescript] });
  await benchKernel(layerNormBackward, {
    sizes,
    generate: ({ R, D }) => ({
      x: f32(1, R! * D!),
      weight: f32(2, D!),
      dY: f32(4, R! * D!),
      mean: f32(5, R!),
      rstd: f32(6, R!),
      dWeight: new Float32Array(D!),
      dBias: new Float32Array(D!),
    }),
  });
};
