/** Rows in an order in which equal labels stand next to each other: labels by first appearance, rows of one label in their own order. */
export interface Segments {
  /** [B] row of the input that stands at each place */
  readonly order: Int32Array<ArrayBuffer>;
  /** [S+1] where each label's rows begin */
  readonly starts: Int32Array<ArrayBuffer>;
  /** [S] the first row of each label */
  readonly first: readonly number[];
  /** [B] which segment a row of the input belongs to */
  readonly segmentOf: Int32Array<ArrayBuffer>;
  /** Values in that order; they themselves if it is theirs. */
  sort(values: Float64Array): Float64Array<ArrayBuffer>;
  /** Values in the order of the input again; they themselves if it is theirs. */
  restore(values: Float64Array): Float64Array<ArrayBuffer>;
}

/** Brings rows with equal labels together. Rows that stand so already, as those of groups mostly do, are not moved. */
export function segments(labels: ArrayLike<number>): Segments {
  const { segmentOf, first, together } = numberLabels(labels);
  const B = labels.length;
  const starts = new Int32Array(first.length + 1);
  if (together) {
    starts.set(first);
    starts[first.length] = B;
  } else {
    for (let row = 0; row < B; row++) starts[segmentOf[row]! + 1]!++;
    for (let s = 0; s < first.length; s++) starts[s + 1]! += starts[s]!;
  }
  let order: Int32Array<ArrayBuffer> | undefined; // made when it is first asked for
  const ordered = () => (order ??= together ? Int32Array.from(segmentOf.keys()) : placed(segmentOf, starts));
  return {
    starts,
    first,
    segmentOf,
    get order() {
      return ordered();
    },
    sort(values) {
      if (together) return values as Float64Array<ArrayBuffer>;
      const rows = ordered();
      const sorted = new Float64Array(B);
      for (let i = 0; i < B; i++) sorted[i] = values[rows[i]!]!;
      return sorted;
    },
    restore(values) {
      if (together) return values as Float64Array<ArrayBuffer>;
      const rows = ordered();
      const restored = new Float64Array(B);
      for (let i = 0; i < B; i++) restored[rows[i]!] = values[i]!;
      return restored;
    },
  };
}

/** Which row stands at each place. */
function placed(segmentOf: Int32Array, starts: Int32Array): Int32Array<ArrayBuffer> {
  const next = starts.slice();
  const order = new Int32Array(segmentOf.length);
  for (let row = 0; row < order.length; row++) order[next[segmentOf[row]!]!++] = row;
  return order;
}

/**
 * Labels as numbers from 0 by first appearance, the row in which each appears first, and whether equal ones stand together. Labels
 * that are small themselves are looked up in a list, others in a map.
 */
function numberLabels(labels: ArrayLike<number>): {
  segmentOf: Int32Array<ArrayBuffer>;
  first: number[];
  together: boolean;
} {
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
  let [label, segment, together] = [Number.NaN, -1, true]; // labels mostly come in runs
  for (let row = 0; row < B; row++) {
    if (labels[row] !== label) {
      label = labels[row]!;
      segment = list ? list[label]! : (map.get(label) ?? -1);
      if (segment >= 0) {
        together = false;
      } else {
        segment = first.push(row) - 1;
        if (list) list[label] = segment;
        else map.set(label, segment);
      }
    }
    segmentOf[row] = segment;
  }
  return { segmentOf, first, together };
}
