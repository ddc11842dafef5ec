import { bf16, defineKernel, f32, many } from './defineKernel.ts';
import { fromBf16, toBf16 } from '../runtime/bf16.ts';

/**
 * Values rounded to bf16, for all tensors in one launch: to the nearest, of two that are as near to the even one; NaN stays NaN.
 * What `rounded` held before is not looked at.
 *
 * @throws SHAPE_MISMATCH  the lists are not of one length
 */
export const roundBf16 = defineKernel({
  name: 'round_bf16',
  inputs: { values: many(f32('N')) },
  updates: { rounded: many(bf16('N')) },
  outputs: {},
  reference({ values, rounded }) {
    values.forEach((value, k) => rounded[k]!.set(fromBf16(toBf16(Float32Array.from(value)))));
  },
  work: ({ N }) => ({ bytes: 6 * N!, flops: 0 }),
});
