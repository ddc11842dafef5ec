import { defineKernel, f32, i32, integer, many, real, u8 } from './defineKernel.ts';
import { patchesOf } from './patches.ts';

/**
 * The rows that a vision tower reads, written for pictures and videos whose frames are bytes: a row for every patch, in merge order (by temporal
 * patch, by block of merge × merge, by row inside a block), and in it channel, time, y, x.
 *
 *   rows[p, c, k, y, x] = values[c, pixels[frame k of p's temporal patch, y, x of p in it, c]]      W = 3 · K · patch², K frames
 *
 * A temporal patch has K frames; the last one stands in for those that are missing, so that a picture is a video of one frame.
 *
 * @throws SHAPE_MISMATCH    W is no multiple of 3 · patch²; pixels are not as many as grids; frames do not fill the t of their grid
 * @throws INVALID_ARGUMENT  a grid (t, h, w) has an entry below 1 or rows and columns that merge does not divide, or all grids
 *                           together do not hold P patches
 */
export const patchRows = defineKernel({
  name: 'patch_rows',
  inputs: {
    /** of each [frames, h · patch, w · patch, 3], interleaved */
    pixels: many(u8('N')),
    /** (t, h, w) of each, in patches */
    grids: i32('I,3'),
    /** what a byte of a channel becomes */
    values: f32('3,256'),
  },
  updates: { rows: real('P,W') },
  scalars: { patch: integer(), merge: integer() },
  outputs: {},
  reference({ pixels, grids, values, rows, patch, merge, dims }) {
    const width = dims['W']!;
    const times = width / (3 * patch ** 2);
    for (const { index, grid, frame, row, column, h, w } of patchesOf(grids, merge)) {
      const from = pixels[grid]!;
      const last = from.length / (3 * h * w * patch ** 2) - 1;
      let at = index * width;
      for (let c = 0; c < 3; c++)
        for (let k = 0; k < times; k++)
          for (let y = 0; y < patch; y++)
            for (let x = 0; x < patch; x++) {
              const line = (Math.min(frame * times + k, last) * h + row) * patch + y;
              rows[at++] = values[256 * c + from[3 * ((line * w + column) * patch + x) + c]!]!;
            }
    }
  },
  work: ({ N, P, W }) => ({ bytes: N! + 4 * P! * W!, flops: 0 }),
});
