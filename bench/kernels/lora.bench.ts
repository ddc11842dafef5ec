import { loraBackward, loraMerge } from '../../lib/kernels/lora.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));

export default async () => {
  await benchKernel(loraMerge, {
    sizes: [
      { N: 256, K: 256, R: 16 },
      { N: 2048, K: 2048, R: 16 },
    ],
    generate: ({ N, K, R }) => ({
      base: f32(1, N! * K!),
      a: f32(2, R! * K!),
      b: f32(3, N! * R!),
      merged: f32(4, N! * K!),
      scale: 2,
    }),
  });
  await benchKernel(loraBackward, {
    sizes: [
      { M: 512, N: 256, K: 256, R: 16 },
      { M: 512, N: 2048, K: 2048, R: 16 },
    ],
    generate: ({ M, N, K, R }) => ({
      dY: f32(1, M! * N!),
      x: f32(2, M! * K!),
      a: f32(3, R! * K!),
      b: f32(4, N! * R!),
      dA: f32(5, R! * K!),
      dB: f32(6, N! * R!),
      scale: 2,
    }),
  });
};
