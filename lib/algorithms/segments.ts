import { scratch } from './scratch.ts';

/** Rows in an order in which equal labels stand next to each other: labels by first appearance, rows of one label in their own order. */
export interface Segments {
  /** [B] row of the input that stands at each place */
  readonly order: Int32Array<ArrayBuffer>;
  /** [S+1] where each label's rows begin */
  readonly starts: Int32Array<ArrayBuffer>;
  /** [S] the first row of each label */
  readonly first: Int32Array<ArrayBuffer>;
  /** [B] which segment a row of the input belongs to */
  readonly segmentOf: Int32Array<ArrayBuffer>;
  /** how rows of one label follow each other in the input */
  readonly runs: Runs;
  /** Values in that order, written into an array if one is given; they themselves if it is theirs. */
  sort(values: Float64Array, into?: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer>;
  /** Values in the order of the input again, written into an array if one is given; they themselves if it is theirs. */
  restore(values: Float64Array, into?: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer>;
}

/** Rows of one label that follow each other, as those of a group mostly do. */
export interface Runs {
  /** [R+1] */
  readonly starts: Int32Array<ArrayBuffer>;
  /** [R] the segment of each */
  readonly segment: Int32Array<ArrayBuffer>;
}

/** Brings rows with equal labels together. Rows that stand so already, as those of groups mostly do, are not moved. */
export function segments(labels: ArrayLike<number>): Segments {
  const B = labels.length;
  const { runs, first } = numberRuns(labels);
  const together = first.length === runs.segment.length;
  const starts = together ? runs.starts : startsOf(runs, first.length);
  // made when they are first asked for
  let segmentOf: Int32Array<ArrayBuffer> | undefined;
  let order: Int32Array<ArrayBuffer> | undefined;
  let known: Int32Array<ArrayBuffer> | undefined;
  const shifts = () => (known ??= shiftsOf(runs, starts));
  return {
    ...{ starts, first, runs },
    get segmentOf() {
      return (segmentOf ??= overRows(runs, B));
    },
    get order() {
      return (order ??= placed(runs, shifts(), B));
    },
    sort(values, into) {
      return together
        ? (values as Float64Array<ArrayBuffer>)
        : sorted(values, into ?? new Float64Array(B), runs, shifts());
    },
    restore(values, into) {
      return together
        ? (values as Float64Array<ArrayBuffer>)
        : restored(values, into ?? new Float64Array(B), runs, shifts());
    },
  };
}

/** Labels as numbers from 0 by first appearance. Those that are small themselves are looked up in a list, others in a map. */
function numberRuns(labels: ArrayLike<number>): { runs: Runs; first: Int32Array<ArrayBuffer> } {
  const B = labels.length;
  const begins = scratch('i32', B + 1); // it is not known yet how many there are
  let [R, least, most] = [0, 0, 0];
  for (let row = 0; row < B; row++) {
    const label = labels[row]!;
    if (row > 0 && label === labels[row - 1]) continue;
    begins[R++] = row;
    if (label < least) least = label;
    if (label > most) most = label;
  }
  begins[R] = B;
  const starts = begins.slice(0, R + 1);
  const segment = new Int32Array(R);
  const first = new Int32Array(R);
  let S = 0;
  if (least === 0 && most < 4 * B) {
    const numbers = new Int32Array(most + 1); // from 1; 0 has not been seen
    for (let r = 0; r < R; r++) {
      const label = labels[starts[r]!]!;
      if (numbers[label] === 0) {
        first[S] = starts[r]!;
        numbers[label] = ++S;
      }
      segment[r] = numbers[label]! - 1;
    }
  } else {
    const numbers = new Map<number, number>();
    for (let r = 0; r < R; r++) {
      const label = labels[starts[r]!]!;
      let s = numbers.get(label);
      if (s === undefined) {
        first[S] = starts[r]!;
        numbers.set(label, (s = S++));
      }
      segment[r] = s;
    }
  }
  return { runs: { starts, segment }, first: first.subarray(0, S) };
}

/** [S+1] where each segment begins, if one follows the other. */
function startsOf({ starts, segment }: Runs, S: number): Int32Array<ArrayBuffer> {
  const of = new Int32Array(S + 1);
  for (let r = 0; r < segment.length; r++) of[segment[r]! + 1]! += starts[r + 1]! - starts[r]!;
  for (let s = 0; s < S; s++) of[s + 1]! += of[s]!;
  return of;
}

/** [B] a run's number, given to each of its rows. */
function overRows({ starts, segment }: Runs, B: number): Int32Array<ArrayBuffer> {
  const rows = new Int32Array(B);
  for (let r = 0, row = 0; r < segment.length; r++) {
    const [s, end] = [segment[r]!, starts[r + 1]!];
    while (row < end) rows[row++] = s;
  }
  return rows;
}

/** [R] from a row of a run to its place in the order of the segments. */
function shiftsOf({ starts, segment }: Runs, segmentStarts: Int32Array): Int32Array<ArrayBuffer> {
  const next = segmentStarts.slice();
  const shifts = new Int32Array(segment.length);
  for (let r = 0; r < segment.length; r++) {
    const s = segment[r]!;
    shifts[r] = next[s]! - starts[r]!;
    next[s] = starts[r + 1]! + shifts[r]!;
  }
  return shifts;
}

/** [B] which row stands at each place. */
function placed({ starts }: Runs, shifts: Int32Array, B: number): Int32Array<ArrayBuffer> {
  const order = new Int32Array(B);
  for (let r = 0, row = 0; r < shifts.length; r++)
    for (const [end, shift] = [starts[r + 1]!, shifts[r]!]; row < end; row++) order[row + shift] = row;
  return order;
}

/** Values in the order of the segments: `placed`, without a list of places. */
function sorted<A extends Float64Array>(values: Float64Array, into: A, { starts }: Runs, shifts: Int32Array): A {
  for (let r = 0, row = 0; r < shifts.length; r++)
    for (const [end, shift] = [starts[r + 1]!, shifts[r]!]; row < end; row++) into[row + shift] = values[row]!;
  return into;
}

/** Values in the order of the input. */
function restored<A extends Float64Array>(values: Float64Array, into: A, { starts }: Runs, shifts: Int32Array): A {
  for (let r = 0, row = 0; r < shifts.length; r++)
    for (const [end, shift] = [starts[r + 1]!, shifts[r]!]; row < end; row++) into[row] = values[row + shift]!;
  return into;
}
