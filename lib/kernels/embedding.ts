import { defineKernel, i32, real, stored } from './defineKernel.ts';

/**
 * The rows of the table that token ids name.
 *
 *   x[s] = table[ids[s]]
 *
 * An id of −1 stands for a row that something else fills (an image's), and gives zeros.
 *
 * @throws INVALID_ARGUMENT  an id is not in [−1, V)
 */
export const embedding = defineKernel({
  name: 'embedding',
  inputs: { ids: i32('S'), table: stored('V,H') },
  outputs: { x: real('S,H') },
  reference({ ids, table, dims }, { x }) {
    const H = dims['H']!;
    ids.forEach((id, s) => {
      if (id >= 0) for (let i = 0; i < H; i++) x[s * H + i] = table[id * H + i]!;
    });
  },
  work: ({ S, H }) => ({ bytes: 8 * S! * H!, flops: 0 }),
});

/**
 * The gradient of {@link embedding}, added to dTable.
 *
 *   dTable[ids[s]] += dX[s], in the order of s
 *
 * Rows of −1 are left out. The order holds for any number of threads, so equal ids give equal bits.
 *
 * @throws INVALID_ARGUMENT  an id is not in [−1, V)
 */
export const embeddingBackward = defineKernel({
  name: 'embedding_backward',
  inputs: { ids: i32('S'), dX: real('S,H') },
  updates: { dTable: real('V,H') },
  outputs: {},
  reference({ ids, dX, dTable, dims }) {
    const H = dims['H']!;
    ids.forEach((id, s) => {
      if (id >= 0) for (let i = 0; i < H; i++) dTable[id * H + i]! += dX[s * H + i]!;
    });
  },
  work: ({ S, H }) => ({ bytes: 12 * S! * H!, flops: S! * H! }),
});
