import { defineKernel, flag, real, stored } from './defineKernel.ts';

/** Bytes of three matrices of f32 and the multiply-adds of their product, which the three kernels share. */
const work = ({ M, N, K }: Record<string, number>) => ({
  bytes: 4 * (M! * K! + N! * K! + M! * N!),
  flops: 2 * M! * N! * K!,
});

/**
 * A weight as products of this processor's instruction set read it, for calls of `linear` in which it does not change: they need not lay it out
 * anew. What `packed` holds depends on that instruction set; it is neither to be kept nor sent anywhere. Of bf16 it may be numbers widened or
 * pairs of them. A weight that has changed is packed anew: nobody else would know. On the CPU alone: a GPU reads weights as they are.
 */
export const packWeight = defineKernel({
  name: 'pack_weight',
  inputs: { weight: stored('N,K') },
  outputs: { packed: real('N+64,K') },
  reference({ weight }, { packed }) {
    packed.set(weight); // as the products of references read it
  },
  work: ({ N, K }) => ({ bytes: 8 * N! * K!, flops: 0 }),
});

/**
 * A linear map of every row, with what is to be added to it.
 *
 *   y = x·Wᵀ + bias + residual
 *
 * W is kept as checkpoints keep it: one row per output. Of bf16 it gives the bits that its widened values give, but on a GPU and
 * on a CPU that multiplies bf16 by bf16 (avx512bf16): these round x too.
 *
 * @throws INVALID_ARGUMENT  packed was not made by `packWeight`, or of a weight of another type
 */
export const linear = defineKernel({
  name: 'linear',
  inputs: {
    x: real('M,K'),
    weight: stored('N,K'),
    /** what `packWeight` has made of it, which is then read instead: the same bits, sooner for more than a few rows */
    packed: real('N+64,K?'),
    bias: real('N?'),
    residual: real('M,N?'),
  },
  outputs: { y: real('M,N') },
  reference({ x, weight, bias, residual, dims }, { y }) {
    const [M, N, K] = [dims['M']!, dims['N']!, dims['K']!];
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++) {
        let sum = (bias?.[j] ?? 0) + (residual?.[i * N + j] ?? 0);
        for (let k = 0; k < K; k++) sum += x[i * K + k]! * weight[j * K + k]!;
        y[i * N + j] = sum;
      }
  },
  work,
});

/**
 * The gradient of `linear` with respect to x.
 *
 *   dX = dY·W
 *
 * That of the residual is dY itself.
 */
export const linearBackwardInput = defineKernel({
  name: 'linear_backward_input',
  inputs: { dY: real('M,N'), weight: stored('N,K') },
  outputs: { dX: real('M,K') },
  reference({ dY, weight, dims }, { dX }) {
    const [M, N, K] = [dims['M']!, dims['N']!, dims['K']!];
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++) for (let k = 0; k < K; k++) dX[i * K + k]! += dY[i * N + j]! * weight[j * K + k]!;
  },
  work,
});

/**
 * Adds the gradients of `linear` with respect to its weight and bias to what dWeight and dBias hold; one that is left out is frozen.
 *
 *   dWeight += dYᵀ·x      dBias += Σᵢ dYᵢ
 */
export const linearBackwardWeight = defineKernel({
  name: 'linear_backward_weight',
  inputs: { dY: real('M,N'), x: real('M,K') },
  updates: { dWeight: real('N,K?'), dBias: real('N?') },
  scalars: {
    /** dY and x may be rounded to bf16 for the weight's gradient, where a device multiplies such numbers faster */
    inBf16: flag(false),
  },
  outputs: {},
  reference({ dY, x, dWeight, dBias, dims }) {
    const [M, N, K] = [dims['M']!, dims['N']!, dims['K']!];
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++) {
        if (dBias) dBias[j]! += dY[i * N + j]!;
        if (dWeight) for (let k = 0; k < K; k++) dWeight[j * K + k]! += dY[i * N + j]! * x[i * K + k]!;
      }
  },
  work,
});
