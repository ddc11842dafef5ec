import { defineKernel, i32, real, stored } from './defineKernel.ts';

/** Bytes and multiply-adds of the products, which the three kernels share. Every expert that has a row is read. */
const work = ({ P, K, N, E }: Record<string, number>) => ({
  bytes: 4 * (P! * (K! + N!) + Math.min(P!, E!) * K! * N!),
  flops: 2 * P! * K! * N!,
});

/** visit(e, p) for every expert and every row that is its own. */
function eachRow(starts: Int32Array, visit: (e: number, p: number) => void): void {
  for (let e = 0; e + 1 < starts.length; e++) for (let p = starts[e]!; p < starts[e + 1]!; p++) visit(e, p);
}

/**
 * Linear maps of rows in groups, a matrix for every group.
 *
 *   y[p] = x[p]·W[e]      starts[e] ≤ p < starts[e+1]
 *
 * The matrices are kept as the releases keep experts: one row per input.
 *
 * @throws INVALID_ARGUMENT  starts do not rise from 0 to P
 */
export const expertLinear = defineKernel({
  name: 'expert_linear',
  inputs: { x: real('P,K'), starts: i32('E+1'), weight: stored('E,K,N') },
  outputs: { y: real('P,N') },
  reference({ x, starts, weight, dims }, { y }) {
    const [K, N] = [dims['K']!, dims['N']!];
    eachRow(starts, (e, p) => {
      for (let k = 0; k < K; k++)
        for (let n = 0; n < N; n++) y[p * N + n]! += x[p * K + k]! * weight[(e * K + k) * N + n]!;
    });
  },
  work,
});

/**
 * The gradient of {@link expertLinear} with respect to x.
 *
 *   dX[p] = dY[p]·W[e]ᵀ
 *
 * @throws INVALID_ARGUMENT  starts do not rise from 0 to P
 */
export const expertLinearBackwardInput = defineKernel({
  name: 'expert_linear_backward_input',
  inputs: { dY: real('P,N'), starts: i32('E+1'), weight: stored('E,K,N') },
  outputs: { dX: real('P,K') },
  reference({ dY, starts, weight, dims }, { dX }) {
    const [K, N] = [dims['K']!, dims['N']!];
    eachRow(starts, (e, p) => {
      for (let k = 0; k < K; k++)
        for (let n = 0; n < N; n++) dX[p * K + k]! += dY[p * N + n]! * weight[(e * K + k) * N + n]!;
    });
  },
  work,
});

/**
 * Adds the gradient of {@link expertLinear} with respect to its matrices to what dWeight holds.
 *
 *   dW[e] += Σ_p x[p]ᵀ·dY[p]
 *
 * @throws INVALID_ARGUMENT  starts do not rise from 0 to P
 */
export const expertLinearBackwardWeight = defineKernel({
  name: 'expert_linear_backward_weight',
  inputs: { dY: real('P,N'), x: real('P,K'), starts: i32('E+1') },
  updates: { dWeight: real('E,K,N') },
  outputs: {},
  reference({ dY, x, starts, dWeight, dims }) {
    const [K, N] = [dims['K']!, dims['N']!];
    eachRow(starts, (e, p) => {
      for (let k = 0; k < K; k++)
        for (let n = 0; n < N; n++) dWeight[(e * K + k) * N + n]! += x[p * K + k]! * dY[p * N + n]!;
    });
  },
  work,
});
