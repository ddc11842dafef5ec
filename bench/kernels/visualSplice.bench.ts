import {
  deepstackAdd,
  gatherRows,
  gatherRowsBackward,
  visualGather,
  visualSplice,
} from '../../lib/kernels/visualSplice.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

const f32 = (seed: number, n: number) => Float32Array.from(randoms(seed, n));
const sizes = [
  { S: 8000, P: 2000, K: 4000, H: 96 },
  { S: 4000, P: 1000, K: 2000, H: 2048 },
];

export default async () => {
  const pairs = ({ P, K }: Record<string, number>) => ({
    rows: Int32Array.from({ length: K! }, (_, k) => 2 * k),
    source: Int32Array.from({ length: K! }, (_, k) => k % P!),
  });
  for (const kernel of [visualSplice, deepstackAdd])
    await benchKernel(kernel, {
      sizes,
      generate: (d) => ({ features: f32(1, d['P']! * d['H']!), ...pairs(d), x: f32(2, d['S']! * d['H']!) }),
    });
  await benchKernel(visualGather, {
    sizes,
    generate: (d) => ({ dX: f32(1, d['S']! * d['H']!), ...pairs(d), dFeatures: f32(2, d['P']! * d['H']!) }),
  });
  await benchKernel(gatherRows, {
    sizes: sizes.map(({ S, K, H }) => ({ S, K, H })),
    generate: ({ S, K, H }) => ({ x: f32(1, S! * H!), rows: Int32Array.from({ length: K! }, (_, k) => 2 * k) }),
  });
  await benchKernel(gatherRowsBackward, {
    sizes: sizes.map(({ S, K, H }) => ({ S, K, H })),
    generate: ({ S, K, H }) => ({
      dY: f32(1, K! * H!),
      rows: Int32Array.from({ length: K! }, (_, k) => 2 * k),
      dX: f32(2, S! * H!),
    }),
  });
};
