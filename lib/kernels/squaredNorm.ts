import { defineKernel, f64, many, stored } from './defineKernel.ts';

/**
 * The sum of squares of all elements of all tensors, in f64 whatever their type: what clipping by the global norm wants.
 *
 *   sum = Σ x²
 *
 * The order of additions is fixed, tensor by tensor, so it is the same number on any number of threads. Infinite and NaN elements show in it.
 */
export const squaredNorm = defineKernel({
  name: 'squared_norm',
  inputs: { x: many(stored('N')) },
  outputs: { sum: f64('1') },
  reference({ x }, { sum }) {
    for (const tensor of x) tensor.forEach((v) => (sum[0]! += v * v));
  },
  work: ({ N }) => ({ bytes: 4 * N!, flops: 2 * N! }),
});
