import { expect, it } from 'vitest';
import { patchRows } from '../../lib/kernels/patchRows.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runKernel, shaped, testKernel, type Case } from '../support/testKernel.ts';

type Shown = [frames: number, h: number, w: number];
/** Random bytes of frames, K to a temporal patch; values are numbers of f32, what rows held before is not. */
const shown = (all: Shown[], { patch = 4, merge = 2, K = 2, seed = 1 } = {}) => {
  const bytes = (k: number, n: number) => Uint8Array.from(randoms(seed + k, n), (x) => Math.floor(128 * (x + 1)));
  const W = 3 * K * patch ** 2;
  const grids = all.map(([frames, h, w]) => [Math.ceil(frames / K), h, w]);
  const P = grids.reduce((n, grid) => n + grid.reduce((a, b) => a * b), 0);
  return {
    pixels: all.map(([frames, h, w], k) => bytes(k, 3 * frames * h * w * patch ** 2)),
    grids: shaped(Int32Array.from(grids.flat()), grids.length, 3),
    values: shaped(Float64Array.from(randoms(seed + 99, 768), Math.fround), 3, 256),
    rows: randoms(seed, P, W),
    ...{ patch, merge },
  };
};
const picture: Shown = [1, 2, 4];

testKernel(patchRows, {
  cases: {
    none: { pixels: [], grids: shaped(new Int32Array(0), 0, 3), values: shaped(new Float64Array(768), 3, 256), rows: shaped(new Float64Array(0), 0, 96), patch: 4, merge: 2 }, // prettier-ignore
    'one patch of one pixel': shown([[1, 1, 1]], { patch: 1, merge: 1, K: 1 }),
    'all bytes equal': { ...shown([picture]), pixels: [new Uint8Array(3 * 8 * 16).fill(255)] },
    'pictures of several sizes, more than a block': shown([picture, [1, 6, 2], [1, 4, 4], [1, 2, 2], [1, 8, 10]]),
    'videos: whole, cut short, of one frame': shown([[4, 2, 4], [5, 4, 2], [1, 2, 2]]), // prettier-ignore
    'three frames at a time, blocks of three': shown([[4, 3, 6], [1, 6, 3]], { patch: 2, merge: 3, K: 3 }), // prettier-ignore
    'an odd patch': shown([[1, 4, 2], [3, 2, 2]], { patch: 5 }), // prettier-ignore
    'patches of the released models': shown([[1, 4, 6], [3, 2, 4]], { patch: 16 }), // prettier-ignore
  },
  tolerance: 0, // nothing is computed
});
sameForAnyThreads(patchRows, shown([[1, 16, 12], [7, 4, 6]], { patch: 8 })); // prettier-ignore

it('arguments that do not fit are refused', async () => {
  const refuses = async (change: Case, code: string, message: string) =>
    expect(runKernel(patchRows, { ...shown([picture, picture]), ...change }, 'f32')).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`patch_rows: ${message}`),
    });
  const bytes = (n: number) => new Uint8Array(n);
  await refuses({ patch: 0 }, 'INVALID_ARGUMENT', 'patch must be at least 1; got 0');
  await refuses({ merge: 0 }, 'INVALID_ARGUMENT', 'merge must be at least 1; got 0');
  await refuses({ patch: 5 }, 'SHAPE_MISMATCH', 'W must be a multiple of 3 · patch² = 75 above 0; got 96');
  await refuses({ pixels: [bytes(384)] }, 'SHAPE_MISMATCH', 'pixels must be as many as grids, 2; got 1');
  await refuses({ grids: [[1, 2, 4], [1, 3, 4]] }, 'INVALID_ARGUMENT', 'grids[1] must be at least 1 in all, rows and columns multiples of merge 2; got (1, 3, 4)'); // prettier-ignore
  await refuses({ grids: [[1, 2, 4], [1, 2, 2]] }, 'INVALID_ARGUMENT', 'grids must hold 16 patches; got 12'); // prettier-ignore
  for (const n of [0, 383, 3 * 384])
    await refuses({ pixels: [bytes(2 * 384), bytes(n)] }, 'SHAPE_MISMATCH', `pixels[1] must be the frames of its grid (1, 2, 4); got ${n} bytes`); // prettier-ignore
});
