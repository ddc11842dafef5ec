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
  const { segmentOf, first } = numberLabels(labels);
  const starts = new Int32Array(first.length + 1);
  for (let row = 0; row < B; row++) starts[segmentOf[row]! + 1]!++;
  for (let s = 0; s < first.length; s++) starts[s + 1]! += starts[s]!;
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

/**
 * Labels as numbers from 0 by first appearance, and the row in which each appears first. Labels that are small themselves are looked
 * up in a list, others in a map.
 */
export function numberLabels(labels: ArrayLike<number>): { segmentOf: Int32Array<ArrayBuffer>; first: number[] } {
  const B = labels.length;
  const segmentOf = new Int32Array(B);
  const first: number[] = [];
  let [least, most] = [0, 0];
  for (let row = 0; row < B; row++) {
    const label = labels[row]!;
    if (label < least) least = label;
    if (label > most) most = label;
  }
  const list = least === 0 && most < 4 * B ? new Int32Array(most + 1).fill(-1) : undefined;
  const map = new Map<number, number>();
  let [label, segment] = [Number.NaN, -1]; // labels mostly come in runs
  for (let row = 0; row < B; row++) {
    if (labels[row] !== label) {
      label = labels[row]!;
      segment = list ? list[label]! : (map.get(label) ?? -1);
      if (segment < 0) {
        segment = first.push(row) - 1;
        if (list) list[label] = segment;
        else map.set(label, segment);
      }
    }
    segmentOf[row] = segment;
  }
  return { segmentOf, first };
}
