import { defineKernel, i32, integer, real } from './defineKernel.ts';
import { patchesOf, type Patch } from './patches.ts';

/** Calls tap(row of the table, share) for the four neighbours of a patch on a table of the given side. */
function neighbours({ row, column, h, w }: Patch, side: number, tap: (row: number, share: number) => void): void {
  const y = h > 1 ? (row * (side - 1)) / (h - 1) : 0;
  const x = w > 1 ? (column * (side - 1)) / (w - 1) : 0;
  for (const r of [Math.floor(y), Math.floor(y) + 1])
    for (const c of [Math.floor(x), Math.floor(x) + 1]) {
      const share = (1 - Math.abs(y - r)) * (1 - Math.abs(x - c));
      if (r < side && c < side) tap(r * side + c, share);
    }
}

/**
 * Adds the learned position table, a square of N × N rows, to the patches of every grid, in place.
 *
 *   x[p] += bilinear(table, r · (N − 1)/(h − 1), c · (N − 1)/(w − 1))      N = √E; (r, c) row and column of patch p
 *
 * Corners are aligned: the first and last patch get the first and last row of the table exactly. A frame of one row (or column)
 * takes the table's first. All frames of a video get the same. Patches are in merge order: by frame, by block of merge × merge,
 * by row inside a block.
 *
 * @throws SHAPE_MISMATCH    E is not a square
 * @throws INVALID_ARGUMENT  a grid (t, h, w) has an entry below 1 or rows and columns that merge does not divide, or all grids
 *                           together do not hold P patches
 */
export const positionEmbedding = defineKernel({
  name: 'position_embedding',
  inputs: {
    /** (t, h, w) of every image or video, in patches */
    grids: i32('I,3'),
    table: real('E,H'),
  },
  scalars: { merge: integer() },
  updates: { x: real('P,H') },
  outputs: {},
  reference({ grids, table, merge, x, dims }) {
    const { E, H } = dims as { E: number; H: number };
    for (const patch of patchesOf(grids, merge))
      neighbours(patch, Math.sqrt(E), (row, share) => {
        for (let i = 0; i < H; i++) x[patch.index * H + i]! += share * table[row * H + i]!;
      });
  },
  work: ({ P, H }) => ({ bytes: 8 * P! * H!, flops: 8 * P! * H! }),
});

/**
 * The gradient of {@link positionEmbedding} for the table, added to dTable in the order of patches.
 *
 *   dTable[k] += Σ over patches p next to k of share(p, k) · dX[p]
 *
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT  as forward
 */
export const positionEmbeddingBackward = defineKernel({
  name: 'position_embedding_backward',
  inputs: { grids: i32('I,3'), dX: real('P,H') },
  updates: { dTable: real('E,H') },
  scalars: { merge: integer() },
  outputs: {},
  reference({ grids, dX, dTable, merge, dims }) {
    const { E, H } = dims as { E: number; H: number };
    for (const patch of patchesOf(grids, merge))
      neighbours(patch, Math.sqrt(E), (row, share) => {
        for (let i = 0; i < H; i++) dTable[row * H + i]! += share * dX[patch.index * H + i]!;
      });
  },
  work: ({ P, H }) => ({ bytes: 4 * P! * H!, flops: 8 * P! * H! }),
});
