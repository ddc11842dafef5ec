/** Rows in an order in which equal labels stand next to each other. */
export interface Segments {
  /** [B] row of the input that stands at each place */
  order: Int32Array<ArrayBuffer>;
  /** [S+1] where each label's rows begin */
  starts: Int32Array<ArrayBuffer>;
  /** Values in that order. */
  sort(values: Float64Array): Float64Array<ArrayBuffer>;
  /** Values in the order of the input again. */
  restore(values: Float64Array): Float64Array<ArrayBuffer>;
}

/** Brings rows with equal labels together, labels by first appearance, rows of one label in their own order. */
export function segments(labels: ArrayLike<number>): Segments {
  const rowsOf = new Map<number, number[]>();
  for (let i = 0; i < labels.length; i++) {
    const rows = rowsOf.get(labels[i]!);
    if (rows) rows.push(i);
    else rowsOf.set(labels[i]!, [i]);
  }
  const order = Int32Array.from([...rowsOf.values()].flat());
  const starts = new Int32Array(rowsOf.size + 1);
  let [segment, end] = [0, 0];
  for (const rows of rowsOf.values()) starts[++segment] = end += rows.length;
  return {
    order,
    starts,
    sort: (values) => Float64Array.from(order, (row) => values[row]!),
    restore(values) {
      const restored = new Float64Array(values.length);
      order.forEach((row, i) => (restored[row] = values[i]!));
      return restored;
    },
  };
}
