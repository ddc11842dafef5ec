import { environment } from '../../lib/runtime/env.ts';

/** Whether kernels run on the CPU: `G2RPO_DEVICE` may name another device, on which the tests run as well. */
export const onCpu = (environment().device ?? 'cpu') === 'cpu';

/** Leaves a test out, told by its reason, where kernels do not run on the CPU. */
export function wantCpu(skip: (reason: string) => void, reason: string): void {
  if (!onCpu) skip(reason);
}
