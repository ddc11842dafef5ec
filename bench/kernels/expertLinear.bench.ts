import { expertLinear, expertLinearBackwardInput, expertLinearBackwardWeight } from '../../lib/kernels/expertLinear.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, ...shape: number[]) => Float32Array.from(randoms(seed, ...shape));
/** P rows, as evenly over E experts as a router that is balanced would have them. */
const starts = (P: number, E: number) => Int32Array.from({ length: E + 1 }, (_, e) => Math.floor((e * P) / E));

// gate and up, then down, of a small policy; a layer of the 30B-A3B; one token of it
const sizes = [
  { P: 8000, E: 8, K: 128, N: 128 },
  { P: 8000, E: 8, K: 64, N: 128 },
  { P: 2048, E: 32, K: 2048, N: 1536 },
  { P: 8, E: 32, K: 2048, N: 1536 },
];

export default async () => {
  await benchKernel(expertLinear, {
    sizes,
    generate: ({ P, E, K, N }) => ({ x: f32(1, P!, K!), starts: starts(P!, E!), weight: f32(2, E!, K!, N!) }),
  });
  await benchKernel(expertLinearBackwardInput, {
    sizes,
    generate: ({ P, E, K, N }) => ({ dY: f32(1, P!, N!), starts: starts(P!, E!), weight: f32(2, E!, K!, N!) }),
  });
  await benchKernel(expertLinearBackwardWeight, {
    sizes: sizes.slice(0, 3),
    generate: ({ P, E, K, N }) => ({ dY: f32(1, P!, N!), x: f32(2, P!, K!), starts: starts(P!, E!), dWeight: f32(3, E!, K!, N!) }), // prettier-ignore
  });
};
