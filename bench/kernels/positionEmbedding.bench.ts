import { positionEmbedding, positionEmbeddingBackward } from '../../lib/kernels/positionEmbedding.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
/** pictures of 16 × 16 patches on a small table, and of 32 × 32 on the released models' */
const sizes = [
  { I: 16, P: 4096, E: 64, H: 96 },
  { I: 2, P: 2048, E: 2304, H: 1152 },
];

export default async () => {
  const grids = ({ I, P }: Record<string, number>) => {
    const side = Math.sqrt(P! / I!);
    return { grids: Int32Array.from({ length: 3 * I! }, (_, k) => (k % 3 ? side : 1)), merge: 2 };
  };
  await benchKernel(positionEmbedding, {
    sizes,
    generate: (d) => ({ ...grids(d), table: f32(1, d['E']! * d['H']!), x: f32(2, d['P']! * d['H']!) }),
  });
  await benchKernel(positionEmbeddingBackward, {
    sizes,
    generate: (d) => ({ ...grids(d), dX: f32(1, d['P']! * d['H']!), dTable: f32(2, d['E']! * d['H']!) }),
  });
};
