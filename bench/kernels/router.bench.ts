import { expertGroups, router, routerBackward } from '../../lib/kernels/router.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, ...shape: number[]) => Float32Array.from(randoms(seed, ...shape));
const experts = (R: number, A: number, E: number) =>
  Int32Array.from(randoms(3, R * A), (x) => Math.floor(((x + 1) / 2) * E));
// the releases, and a small policy
const sizes = [
  { R: 4000, E: 128, A: 8 },
  { R: 4000, E: 8, A: 2 },
  { R: 64, E: 128, A: 8 },
];

export default async () => {
  await benchKernel(router, {
    sizes,
    generate: ({ R, E, A }) => ({ logits: f32(1, R!, E!), chosen: new Int32Array(R! * A!) }),
  });
  await benchKernel(routerBackward, {
    sizes,
    generate: ({ R, E, A }) => ({
      dWeights: f32(1, R!, A!),
      logits: f32(2, R!, E!),
      chosen: experts(R!, A!, E!),
      weights: f32(4, R!, A!),
    }),
  });
  await benchKernel(expertGroups, {
    sizes,
    generate: ({ R, E, A }) => ({ chosen: experts(R!, A!, E!), starts: new Int32Array(E! + 1) }),
  });
};
