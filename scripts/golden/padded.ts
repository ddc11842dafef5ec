/** Rows of equal length, of which the mask says what counts. */
export type Rows<T = number> = T[][];

/** [B+1] where the tokens of each row begin, once only those that count are left. */
export function tokenStarts(mask: Rows): Int32Array<ArrayBuffer> {
  const starts = new Int32Array(mask.length + 1);
  mask.forEach((row, b) => (starts[b + 1] = starts[b]! + row.filter((m) => m !== 0).length));
  return starts;
}

/** [N] what counts of every row, one after the other. */
export const packed = <T>(rows: Rows<T>, mask: Rows): T[] =>
  rows.flatMap((row, b) => row.filter((_, t) => mask[b]![t] !== 0));

/** Rows of before; what does not count is `empty`. */
export function padded<T>(values: ArrayLike<T>, mask: Rows, empty: T): Rows<T> {
  let next = 0;
  return mask.map((row) => row.map((m) => (m === 0 ? empty : values[next++]!)));
}

/** The mask of rows of these lengths. */
export const maskOf = (lengths: readonly number[], width: number): Rows =>
  lengths.map((length) => Array.from({ length: width }, (_, t) => Number(t < length)));

/** [N][V] of a list [N·V]. */
export const rowsOf = (flat: ArrayLike<number>, width: number): Rows =>
  Array.from({ length: flat.length / width }, (_, i) => Array.from({ length: width }, (_, j) => flat[i * width + j]!));
