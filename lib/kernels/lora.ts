import { defineKernel, number, real, stored } from './defineKernel.ts';

/**
 * The weight that a linear map uses where only a low-rank change of it is trained.
 *
 *   merged = base + scale·b·a
 *
 * What `merged` held before is not looked at.
 *
 * @source arXiv:2106.09685, section 4.1
 */
export const loraMerge = defineKernel({
  name: 'lora_merge',
  inputs: { base: stored('N,K'), a: real('R,K'), b: real('N,R') },
  updates: { merged: real('N,K') },
  scalars: { scale: number() },
  outputs: {},
  reference({ base, a, b, merged, scale, dims }) {
    const [N, K, R] = [dims['N']!, dims['K']!, dims['R']!];
    for (let i = 0; i < N; i++)
      for (let k = 0; k < K; k++) {
        let sum = 0;
        for (let r = 0; r < R; r++) sum += b[i * R + r]! * a[r * K + k]!;
        merged[i * K + k] = base[i * K + k]! + scale * sum;
      }
  },
  work: ({ N, K, R }) => ({ bytes: 4 * (2 * N! * K! + R! * (N! + K!)), flops: 2 * N! * K! * R! }),
});

/**
 * Adds the gradients of y = x·mergedᵀ with respect to a and b to what dA and dB hold. The gradient of the merged weight, which is
 * as large as the weight, is never formed.
 *
 *   dA += scale·(dY·b)ᵀ·x      dB += scale·dYᵀ·(x·aᵀ)
 */
export const loraBackward = defineKernel({
  name: 'lora_backward',
  inputs: { dY: real('M,N'), x: real('M,K'), a: real('R,K'), b: real('N,R') },
  updates: { dA: real('R,K'), dB: real('N,R') },
  scalars: { scale: number() },
  outputs: {},
  reference({ dY, x, a, b, dA, dB, scale, dims }) {
    const [M, N, K, R] = [dims['M']!, dims['N']!, dims['K']!, dims['R']!];
    for (let n = 0; n < N; n++)
      for (let k = 0; k < K; k++) {
        let slope = 0; // of merged[n, k]
        for (let i = 0; i < M; i++) slope += scale * dY[i * N + n]! * x[i * K + k]!;
        for (let r = 0; r < R; r++) {
          dA[r * K + k]! += slope * b[n * R + r]!;
          dB[n * R + r]! += slope * a[r * K + k]!;
        }
      }
  },
  work: ({ M, N, K, R }) => ({
    bytes: 4 * (2 * M! * (N! + K!) + 3 * R! * (N! + K!)),
    flops: 4 * M! * R! * (N! + K!),
  }),
});
