/** Rows in an order in which equal labels stand next to each other. */
export interface Segments {
  /** [B] row of the input that stands at each place */
  order: Int32Array<ArrayBuffer>;
  /** [S+1] where each label's rows begin */
  starts: Int32Array<ArrayBuffer>;
  /** [B] which segment a row of the input belongs to */
  segmentOf: Int32Array<ArrayBuffer>;
  /** Values in that order. */
  sort(values: Float64Array): Float64Array<ArrayBuffer>;
  /** Values in the order of the input again. */
  restore(values: Float64Array): Float64Array<ArrayBuffer>;
}

/** Brings rows with equal labels together, labels by first appearance, rows of one label in their own order. */
export function segments(labels: ArrayLike<number>): Segments {
  const B = labels.length;
  const segmentOf = new Int32Array(B);
  const numbers = new Map<number, number>();
  const sizes: number[] = [];
  let [label, segment] = [Number.NaN, -1]; // labels mostly come in runs
  for (let row = 0; row < B; row++) {
    if (labels[row] !== label) {
      label = labels[row]!;
      segment = numbers.get(label) ?? numbers.size;
      if (segment === numbers.size) {
        numbers.set(label, segment);
        sizes.push(0);
      }
    }
    segmentOf[row] = segment;
    sizes[segment]!++;
  }
  const starts = new Int32Array(sizes.length + 1);
  sizes.forEach((size, s) => (starts[s + 1] = starts[s]! + size));
  const next = starts.slice();
  const order = new Int32Array(B);
  for (let row = 0; row < B; row++) order[next[segmentOf[row]!]!++] = row;
  return {
    order,
    starts,
    segmentOf,
    sort(values) {
      const sorted = new Float64Array(B);
      for (let i = 0; i < B; i++) sorted[i] = values[order[i]!]!;
      return sorted;
    },
    restore(values) {
      const restored = new Float64Array(B);
      for (let i = 0; i < B; i++) restored[order[i]!] = values[i]!;
      return restored;
    },
  };
}
