import { adamw8bit } from '../../lib/kernels/adamw8bit.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
const u8 = (seed: number, n: number) => Uint8Array.from(randoms(seed, n), (x) => 127 + 127 * x);

export default () =>
  benchKernel(adamw8bit, {
    sizes: [{ N: 10_240 }, { N: 3_000_064 }],
    generate: ({ N }) => ({
      gradients: [f32(1, N!)],
      parameters: [f32(2, N!)],
      firstCodes: [u8(3, N!)],
      secondCodes: [u8(4, N!)],
      firstScales: [f32(5, Math.ceil(N! / 256))],
      secondScales: [f32(6, Math.ceil(N! / 256)).map(Math.abs)],
      learningRate: 1e-6,
      weightDecay: 0.01,
      step: 10,
    }),
  });
