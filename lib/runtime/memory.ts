import { describe, refuse } from './errors.ts';
import { callNative } from './native.ts';

/** Memory of the engine in this process, in bytes: tensors, and what kernels and policies hold while they run. */
export interface MemoryUse {
  bytes: number;
  /** the most at any moment since the limit was last set */
  peak: number;
  /** Infinity where there is none */
  limit: number;
}

export function memoryUse(): MemoryUse {
  return callNative((native) => native.memoryUse());
}

/**
 * Bounds what `memoryUse` counts; Infinity takes the bound away. What would pass it is refused with OUT_OF_MEMORY, before anything of it
 * is allocated; what is there already stays. Small scratch of the threads of a kernel, and memory of JavaScript, do not count, so that
 * what is refused follows from what is computed, and not from which thread was faster.
 *
 * @param bytes  of all policies and tensors of this process, worker threads included
 * @throws INVALID_ARGUMENT  not a number, or below 0
 */
export function limitMemory(bytes: number): void {
  if (typeof bytes !== 'number') refuse('limitMemory', 'bytes', 'must be a number', describe(bytes));
  callNative((native) => native.limitMemory(bytes));
}
