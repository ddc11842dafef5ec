import { defineKernel, i32, real } from './defineKernel.ts';

/** Rows of x that pictures fill, and the rows of features that fill them. */
const pairs = {
  /** rows of x, all different */
  rows: i32('K'),
  /** rows of features; one may serve several rows of x */
  source: i32('K'),
};

/**
 * Puts the vision tower's rows into the token embeddings, in place.
 *
 *   x[rows[k]] = features[source[k]]
 *
 * @throws INVALID_ARGUMENT  a row or a source is out of range, or a row occurs twice
 */
export const visualSplice = defineKernel({
  name: 'visual_splice',
  inputs: { features: real('P,H'), ...pairs },
  updates: { x: real('S,H') },
  outputs: {},
  reference({ features, rows, source, x, dims }) {
    const H = dims['H']!;
    rows.forEach((row, k) => {
      for (let i = 0; i < H; i++) x[row * H + i] = features[source[k]! * H + i]!;
    });
  },
  work: ({ K, H }) => ({ bytes: 8 * K! * H!, flops: 0 }),
});

/**
 * Adds deeper features of the vision tower to the same rows after a text layer, in place.
 *
 *   x[rows[k]] += features[source[k]]
 *
 * @throws INVALID_ARGUMENT  a row or a source is out of range, or a row occurs twice
 * @source arXiv:2406.04334, section 3
 */
export const deepstackAdd = defineKernel({
  name: 'deepstack_add',
  inputs: { features: real('P,H'), ...pairs },
  updates: { x: real('S,H') },
  outputs: {},
  reference({ features, rows, source, x, dims }) {
    const H = dims['H']!;
    rows.forEach((row, k) => {
      for (let i = 0; i < H; i++) x[row * H + i]! += features[source[k]! * H + i]!;
    });
  },
  work: ({ K, H }) => ({ bytes: 12 * K! * H!, flops: K! * H! }),
});

/**
 * The gradient of {@link visualSplice} and of {@link deepstackAdd} for the features, added to dFeatures.
 *
 *   dFeatures[source[k]] += dX[rows[k]], in the order of k
 *
 * @throws INVALID_ARGUMENT  a row or a source is out of range
 */
export const visualGather = defineKernel({
  name: 'visual_gather',
  inputs: { dX: real('S,H'), ...pairs },
  updates: { dFeatures: real('P,H') },
  outputs: {},
  reference({ dX, rows, source, dFeatures, dims }) {
    const H = dims['H']!;
    rows.forEach((row, k) => {
      for (let i = 0; i < H; i++) dFeatures[source[k]! * H + i]! += dX[row * H + i]!;
    });
  },
  work: ({ K, H }) => ({ bytes: 12 * K! * H!, flops: K! * H! }),
});

/**
 * Some rows of x, in the order asked for; a row may occur many times.
 *
 *   y[k] = x[rows[k]]
 *
 * @throws INVALID_ARGUMENT  a row is not in [0, S)
 */
export const gatherRows = defineKernel({
  name: 'gather_rows',
  inputs: { x: real('S,H'), rows: i32('K') },
  outputs: { y: real('K,H') },
  reference({ x, rows, dims }, { y }) {
    const H = dims['H']!;
    rows.forEach((row, k) => {
      for (let i = 0; i < H; i++) y[k * H + i] = x[row * H + i]!;
    });
  },
  work: ({ K, H }) => ({ bytes: 8 * K! * H!, flops: 0 }),
});

/**
 * The gradient of {@link gatherRows}, added to dX.
 *
 *   dX[rows[k]] += dY[k], in the order of k
 *
 * @throws INVALID_ARGUMENT  a row is not in [0, S)
 */
export const gatherRowsBackward = defineKernel({
  name: 'gather_rows_backward',
  inputs: { dY: real('K,H'), rows: i32('K') },
  updates: { dX: real('S,H') },
  outputs: {},
  reference({ dY, rows, dX, dims }) {
    const H = dims['H']!;
    rows.forEach((row, k) => {
      for (let i = 0; i < H; i++) dX[row * H + i]! += dY[k * H + i]!;
    });
  },
  work: ({ K, H }) => ({ bytes: 12 * K! * H!, flops: K! * H! }),
});
