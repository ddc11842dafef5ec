import { environment } from '../../lib/runtime/env.ts';
import { native } from '../../lib/runtime/native.ts';

/** Whether kernels run on the CPU: `G2RPO_DEVICE` may name another device, on which the tests run as well. */
export const onCpu = (environment().device ?? 'cpu') === 'cpu';

/** Leaves a test out, told by its reason, where kernels do not run on the CPU. */
export function wantCpu(skip: (reason: string) => void, reason: string): void {
  if (!onCpu) skip(reason);
}

/** Whether products by weights in bf16 round what these are multiplied by: on a GPU, and on a CPU that runs the instruction set for it. */
export const productsRound = (): boolean => !onCpu || native().hostIsa().startsWith('avx512bf16');

/** Leaves a test out, told by its reason, where they do. */
export function wantExactProducts(skip: (reason: string) => void): void {
  if (productsRound()) skip('what weights of bf16 are multiplied by is rounded here');
}

/**
 * Chooses the instruction set that multiplies bf16 by bf16, emulated where the processor does not have it, for all kernels that this process
 * runs from now on; says why not where that cannot be.
 */
export function chooseAvx512Bf16(): string | undefined {
  if (!onCpu) return 'kernels run on another device';
  const set = native().limitIsa('avx512bf16');
  return set.startsWith('avx512bf16') ? undefined : `avx512bf16 wants avx512, and the best that is there is ${set}`;
}
