import { expertSwiglu, expertSwigluBackward } from '../../lib/kernels/expertSwiglu.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, ...shape: number[]) => Float32Array.from(randoms(seed, ...shape));
const sizes = [
  { P: 8000, I: 64 },
  { P: 2048, I: 768 },
];
const given = ({ P, I }: Record<string, number>) => ({
  gateUp: f32(1, P!, 2 * I!),
  weights: f32(2, P!),
  order: Int32Array.from({ length: P! }, (_, p) => p),
});

export default async () => {
  await benchKernel(expertSwiglu, { sizes, generate: given });
  await benchKernel(expertSwigluBackward, {
    sizes,
    generate: (dims) => ({ ...given(dims), dY: f32(3, dims['P']!, dims['I']!) }),
  });
};
