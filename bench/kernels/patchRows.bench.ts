import { patchRows } from '../../lib/kernels/patchRows.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

/** pictures of 64 × 64 and of 512 × 512, in patches of 16 × 16 */
export default () =>
  benchKernel(patchRows, {
    sizes: [
      { I: 64, N: 64 * 3 * 64 ** 2, P: 1024, W: 1536 },
      { I: 8, N: 8 * 3 * 512 ** 2, P: 8192, W: 1536 },
    ],
    generate: ({ I, N, P, W }) => {
      const side = Math.sqrt(P! / I!);
      return {
        pixels: Array.from({ length: I! }, (_, k) => Uint8Array.from(randoms(k, N! / I!), (x) => 128 * (x + 1))),
        grids: Int32Array.from({ length: 3 * I! }, (_, k) => (k % 3 ? side : 1)),
        values: Float32Array.from(randoms(1, 768)),
        rows: new Float32Array(P! * W!),
        ...{ patch: 16, merge: 2 },
      };
    },
  });
