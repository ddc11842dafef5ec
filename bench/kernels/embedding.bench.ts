import { embedding, embeddingBackward } from '../../lib/kernels/embedding.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
/** ids with the skew of text: few occur often */
const ids = (S: number, V: number) => Int32Array.from(randoms(1, S), (v) => Math.floor(Math.abs(v) ** 4 * V));
const sizes = [
  { S: 16_000, V: 512, H: 96 },
  { S: 2000, V: 30_000, H: 1024 },
];

export default async () => {
  await benchKernel(embedding, {
    sizes,
    generate: ({ S, V, H }) => ({ ids: ids(S!, V!), table: f32(2, V! * H!) }),
  });
  await benchKernel(embeddingBackward, {
    sizes,
    generate: ({ S, V, H }) => ({ ids: ids(S!, V!), dX: f32(2, S! * H!), dTable: new Float32Array(V! * H!) }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ ids, dX, dTable }, { S, H }) {
          const rows = ids as Int32Array;
          const [from, to] = [dX, (dTable as Float32Array).slice()] as Float32Array[];
          return () => {
            for (let s = 0; s < S!; s++)
              for (let i = 0, at = rows[s]! * H!; i < H!; i++) to![at + i] = to![at + i]! + from![s * H! + i]!;
          };
        },
      },
    ],
  });
};
