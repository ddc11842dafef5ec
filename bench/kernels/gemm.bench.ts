import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { gemm } from '../../lib/kernels/gemm.ts';
import { toBf16 } from '../../lib/runtime/bf16.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';
import { matrixProduct } from '../support/matrixProduct.ts';

const generate = ({ M, N, K }: Dims) => ({
  a: Float32Array.from(randoms(1, M!, K!)),
  b: Float32Array.from(randoms(2, K!, N!)),
});

export default async () => {
  await benchKernel(gemm, {
    sizes: [
      { M: 512, N: 1024, K: 1024 },
      { M: 512, N: 256, K: 256 },
      { M: 64, N: 384, K: 128 },
    ],
    generate,
    peers: [
      {
        name: 'TypeScript',
        prepare: ({ a, b }, { M, N, K }) => matrixProduct(a as Float32Array, b as Float32Array, M!, N!, K!),
      },
    ],
  });
  await benchKernel(gemm, {
    sizes: [
      { M: 512, N: 1024, K: 1024 },
      { M: 512, N: 256, K: 256 },
    ],
    generate(dims) {
      const { a, b } = generate(dims);
      return { a, b: toBf16(b) };
    },
  });
};
