import { defineKernel, real, stored } from './defineKernel.ts';

/**
 * The product of two matrices.
 *
 *   cᵢⱼ = Σₖ aᵢₖ·bₖⱼ
 *
 * A row of c depends on the bits of its row of a and on b, and on nothing else: not on the threads, not on the other rows.
 * With K = 0 every element is 0. A b of bf16 gives the bits that its widened values give.
 */
export const gemm = defineKernel({
  name: 'gemm',
  inputs: { a: real('M,K'), b: stored('K,N') },
  outputs: { c: real('M,N') },
  reference({ a, b, dims }, { c }) {
    const [M, N, K] = [dims['M']!, dims['N']!, dims['K']!];
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++) for (let k = 0; k < K; k++) c[i * N + j]! += a[i * K + k]! * b[k * N + j]!;
  },
  work: ({ M, N, K }) => ({ bytes: 4 * (M! * K! + K! * N! + M! * N!), flops: 2 * M! * N! * K! }),
});
