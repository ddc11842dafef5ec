import { ema, emaExchange } from '../../lib/kernels/ema.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));

export default async () => {
  await benchKernel(ema, {
    sizes: [{ N: 10_000 }, { N: 3_000_000 }],
    generate: ({ N }) => ({ values: [f32(1, N!)], averages: [f32(2, N!)], decay: 0.999 }),
  });
  await benchKernel(emaExchange, {
    sizes: [{ N: 3_000_000 }],
    generate: ({ N }) => ({ a: [f32(1, N!)], b: [f32(2, N!)] }),
  });
};
