import { swiglu, swigluBackward } from '../../lib/kernels/swiglu.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n), (v) => 4 * v);
const sizes = [
  { R: 100, I: 256 },
  { R: 4096, I: 2048 },
];

export default async () => {
  await benchKernel(swiglu, {
    sizes,
    generate: ({ R, I }) => ({ gate: f32(1, R! * I!), up: f32(2, R! * I!) }),
    peers: [
      {
        name: 'TypeScript',
        prepare({ gate, up }) {
          const [g, u] = [gate, up] as Float32Array[];
          const y = new Float32Array(g!.length);
          return () => {
            for (let i = 0; i < y.length; i++) y[i] = (g![i]! / (1 + Math.exp(-g![i]!))) * u![i]!;
          };
        },
      },
    ],
  });
  await benchKernel(swigluBackward, {
    sizes,
    generate: ({ R, I }) => ({ dY: f32(3, R! * I!), gate: f32(1, R! * I!), up: f32(2, R! * I!) }),
  });
};
