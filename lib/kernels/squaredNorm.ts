import { defineKernel, f64, real } from './defineKernel.ts';

/**
 * The sum of squares of all elements, in f64 whatever their type: what clipping by the global norm adds up over tensors.
 *
 *   sum = Σ x²
 *
 * The order of additions is fixed, so it is the same number on any number of threads. Infinite and NaN elements show in it.
 */
export const squaredNorm = defineKernel({
  name: 'squared_norm',
  inputs: { x: real('N') },
  outputs: { sum: f64('1') },
  reference({ x }, { sum }) {
    x.forEach((v) => (sum[0]! += v * v));
  },
  work: ({ N }) => ({ bytes: 4 * N!, flops: 2 * N! }),
});
