import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { linear, linearBackwardInput, linearBackwardWeight, packWeight } from '../../lib/kernels/linear.ts';
import { tensor } from '../../lib/runtime/tensor.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';
import { matrixProduct } from '../support/matrixProduct.ts';

const f32 = (seed: number, ...shape: number[]) => Float32Array.from(randoms(seed, ...shape));
function transposed(x: Float32Array, rows: number): Float32Array {
  const columns = x.length / rows;
  return x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);
}
/** The product alone, of matrices transposed beforehand. */
const typescript = (prepare: Peer['prepare']): Peer[] => [{ name: 'TypeScript', prepare }];

// sizes of a small policy: a training batch, a decoding step of many and of few sequences
const sizes = [
  { M: 4000, N: 128, K: 128 },
  { M: 4000, N: 384, K: 128 },
  { M: 4000, N: 128, K: 384 },
  { M: 192, N: 384, K: 128 },
  { M: 64, N: 128, K: 384 },
  { M: 16, N: 384, K: 128 },
  { M: 1, N: 384, K: 128 },
];

const training = [
  { M: 512, N: 1024, K: 1024 },
  { M: 64, N: 4096, K: 4096 },
  { M: 4000, N: 128, K: 384 },
];

const generate = ({ M, N, K }: Dims) => ({
  x: f32(1, M!, K!),
  weight: f32(2, N!, K!),
  bias: f32(3, N!),
  residual: f32(4, M!, N!),
});

export default async () => {
  // a large policy decodes, with weights in f32 and in bf16; the TypeScript would take seconds
  const decoding = [1, 4, 8, 16, 64].map((M) => ({ M, N: 4096, K: 4096 }));
  const narrow = (dims: Dims) => {
    const args = generate(dims);
    return { ...args, weight: toBf16(args.weight) };
  };
  for (const dims of decoding)
    for (const given of [generate, narrow]) {
      await benchKernel(linear, { sizes: [dims], generate: given });
      const laidOut = (size: Dims) => {
        const args = given(size);
        return { ...args, packed: packWeight({ weight: tensor(args.weight, [size['N']!, size['K']!]) }).packed };
      };
      await benchKernel(linear, { sizes: [dims], generate: laidOut, note: 'packed' });
    }
  await benchKernel(packWeight, {
    sizes: [{ N: 4096, K: 4096 }],
    generate: ({ N, K }) => ({ weight: f32(2, N!, K!) }),
  });
  // what a policy whose weights are bf16 is trained with
  await benchKernel(linear, { sizes: training, generate: narrow });
  await benchKernel(linearBackwardInput, {
    sizes: training,
    generate: ({ M, N, K }) => ({ dY: f32(1, M!, N!), weight: toBf16(f32(2, N!, K!)) }),
  });
  await benchKernel(linearBackwardWeight, {
    sizes: training,
    generate: ({ M, N, K }) => ({ dY: f32(1, M!, N!), x: f32(2, M!, K!), dWeight: f32(3, N!, K!), inBf16: true }),
  });
  await benchKernel(linear, {
    sizes,
    generate,
    peers: typescript(({ x, weight }, { M, N, K }) =>
      matrixProduct(x as Float32Array, transposed(weight as Float32Array, N!), M!, N!, K!),
    ),
  });
  await benchKernel(linearBackwardInput, {
    sizes: sizes.slice(0, 4),
    generate: ({ M, N, K }) => ({ dY: f32(1, M!, N!), weight: f32(2, N!, K!) }),
    peers: typescript(({ dY, weight }, { M, N, K }) =>
      matrixProduct(dY as Float32Array, weight as Float32Array, M!, K!, N!),
    ),
  });
  await benchKernel(linearBackwardWeight, {
    sizes: sizes.slice(0, 4),
    generate: ({ M, N, K }) => ({ dY: f32(1, M!, N!), x: f32(2, M!, K!), dWeight: f32(3, N!, K!), dBias: f32(4, N!) }),
    peers: typescript(({ dY, x }, { M, N, K }) =>
      matrixProduct(transposed(dY as Float32Array, M!), x as Float32Array, N!, K!, M!),
    ),
  });
};
