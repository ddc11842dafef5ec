import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon, packageRoot } from '../../lib/runtime/native.ts';

const folder = join(packageRoot, 'build', 'emulated');

/** The CUDA backend whose kernels the CPU runs, and a library in cuBLASLt's place. */
export const emulatedLibrary = join(folder, 'g2rpo-cuda.so');
export const emulatedCublaslt = join(folder, 'libemulated_cublaslt.so');

/**
 * Lets this process compute on the emulated device, if nothing has been computed yet.
 *
 * @returns why that is not to be had here
 */
export function useEmulatedDevice(environment: Record<string, string> = {}): string | undefined {
  if (!existsSync(emulatedLibrary)) return 'the emulated device is not built; `npm run test:cuda` does that';
  Object.assign(process.env, { G2RPO_CUBLASLT: emulatedCublaslt, ...environment });
  try {
    loadAddon().describeDevice(emulatedLibrary);
  } catch (error) {
    return (error as Error).message; // it was built from other sources than the addon
  }
  Object.assign(process.env, { G2RPO_DEVICE: 'cuda', G2RPO_CUDA_LIBRARY: emulatedLibrary });
  return undefined;
}
