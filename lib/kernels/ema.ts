import { defineKernel, many, number, real, stored } from './defineKernel.ts';

/**
 * Moves averages towards values, for all tensors in one launch.
 *
 *   averages += (1 − decay)·(values − averages)
 *
 * @throws INVALID_ARGUMENT  decay is not in [0, 1]
 * @throws SHAPE_MISMATCH    the lists are not of one length
 */
export const ema = defineKernel({
  name: 'ema',
  inputs: { values: many(stored('N')) },
  updates: { averages: many(real('N')) },
  scalars: { decay: number() },
  outputs: {},
  reference({ values, averages, decay }) {
    values.forEach((value, k) => value.forEach((v, i) => (averages[k]![i]! += (1 - decay) * (v - averages[k]![i]!))));
  },
  work: ({ N }) => ({ bytes: 12 * N!, flops: 3 * N! }),
});

/** Two lists of tensors change places, element by element and exactly. @throws SHAPE_MISMATCH  the lists are not of one length */
export const emaExchange = defineKernel({
  name: 'ema_exchange',
  inputs: {},
  updates: { a: many(stored('N')), b: many(stored('N')) },
  outputs: {},
  reference({ a, b }) {
    a.forEach((tensor, k) => {
      const held = tensor.slice();
      tensor.set(b[k]!);
      b[k]!.set(held);
    });
  },
  work: ({ N }) => ({ bytes: 16 * N!, flops: 0 }),
});
