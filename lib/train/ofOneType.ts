import type { Tensor } from '../runtime/tensor.ts';

/** What has tensors of reals, and what has tensors of bf16, each in its order: a launch takes those of one type. Neither is empty. */
export function ofOneType<T>(all: readonly T[], tensorOf: (each: T) => Tensor): T[][] {
  const isNarrow = (each: T) => tensorOf(each).dtype === 'bf16';
  return [all.filter((each) => !isNarrow(each)), all.filter(isNarrow)].filter((kind) => kind.length > 0);
}
