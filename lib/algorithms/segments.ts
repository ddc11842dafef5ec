import { scratch } from './scratch.ts';

/** Rows of one label that follow each other, as those of a group mostly do. */
export interface Runs {
  /** [R+1] */
  readonly starts: Int32Array<ArrayBuffer>;
  /** [R] the segment of each */
  readonly segment: Int32Array<ArrayBuffer>;
}

/** What is known of rows and their labels. */
interface Numbered {
  /** B */
  rows: number;
  runs: Runs;
  /** [S] the first row of each label */
  first: Int32Array<ArrayBuffer>;
  /** [S+1] */
  starts: Int32Array<ArrayBuffer>;
  /** [R] from a row of a run to its place; none where rows stand together already */
  shifts: Int32Array<ArrayBuffer> | undefined;
}

/** Rows in an order in which equal labels stand next to each other: labels by first appearance, rows of one label in their own order. */
export class Segments {
  readonly #of: Numbered;
  #segmentOf: Int32Array<ArrayBuffer> | undefined;
  #order: Int32Array<ArrayBuffer> | undefined;

  constructor(of: Numbered | Segments) {
    this.#of = of instanceof Segments ? of.#of : of;
  }
  /** [S+1] where each label's rows begin */
  get starts(): Int32Array<ArrayBuffer> {
    return this.#of.starts;
  }
  /** [S] the first row of each label */
  get first(): Int32Array<ArrayBuffer> {
    return this.#of.first;
  }
  /** how rows of one label follow each other in the input */
  get runs(): Runs {
    return this.#of.runs;
  }
  /** [B] which segment a row of the input belongs to */
  get segmentOf(): Int32Array<ArrayBuffer> {
    return (this.#segmentOf ??= overRows(this.#of));
  }
  /** [B] row of the input that stands at each place */
  get order(): Int32Array<ArrayBuffer> {
    return (this.#order ??= placed(this.#of));
  }
  /** Values in that order, written into an array if one is given; they themselves if it is theirs. */
  sort(values: Float64Array, into?: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
    const { runs, shifts, rows } = this.#of;
    if (!shifts) return values as Float64Array<ArrayBuffer>;
    return sorted(values, into ?? new Float64Array(rows), runs, shifts);
  }
  /** Values in the order of the input again, written into an array if one is given; they themselves if it is theirs. */
  restore(values: Float64Array, into?: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
    const { runs, shifts, rows } = this.#of;
    if (!shifts) return values as Float64Array<ArrayBuffer>;
    return restored(values, into ?? new Float64Array(rows), runs, shifts);
  }
}

/**
 * Brings rows with equal labels together. Rows that stand so already, as those of groups mostly do, are not moved.
 *
 * @param within  runs whose rows are known to have one label each: no others are looked at
 */
export const segments = (labels: ArrayLike<number>, within?: Runs): Segments =>
  new Segments(numberRuns(labels, within));

/** Lists in memory that is allocated once: for a few hundred numbers the allocations would take longer than what is done with them. */
function roomFor(size: number): (length: number) => Int32Array<ArrayBuffer> {
  const memory = new Int32Array(size);
  let taken = 0;
  return (length) => memory.subarray(taken, (taken += length));
}

/** Labels as numbers from 0 by first appearance. Those that are small themselves are looked up in a list, others in a map. */
function numberRuns(labels: ArrayLike<number>, within?: Runs): Numbered {
  const B = labels.length;
  const candidates = within?.segment.length ?? B;
  const begins = scratch('i32', candidates + 1); // it is not known yet how many there are
  let [R, least, most] = [0, 0, 0];
  let before = 0;
  for (let i = 0; i < candidates; i++) {
    const row = within ? within.starts[i]! : i;
    const label = labels[row]!;
    if (i > 0 && label === before) continue;
    before = label;
    begins[R++] = row;
    if (label < least) least = label;
    if (label > most) most = label;
  }
  begins[R] = B;
  const room = roomFor(5 * R + 2);
  const [starts, segment, first] = [room(R + 1), room(R), room(R)];
  starts.set(begins.subarray(0, R + 1));
  let S = 0;
  if (least === 0 && most < 4 * B) {
    const numbers = scratch('i32', most + 1).fill(0); // from 1; 0 has not been seen
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
  const runs: Runs = { starts, segment };
  if (S === R) return { rows: B, runs, first, starts, shifts: undefined };
  const segmentStarts = startsOf(runs, room(S + 1));
  const shifts = shiftsOf(runs, segmentStarts, room(R));
  return { rows: B, runs, first: first.subarray(0, S), starts: segmentStarts, shifts };
}

/** [S+1] where each segment begins, if one follows the other; into zeros. */
function startsOf({ starts, segment }: Runs, of: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  for (let r = 0; r < segment.length; r++) of[segment[r]! + 1]! += starts[r + 1]! - starts[r]!;
  for (let s = 0; s + 1 < of.length; s++) of[s + 1]! += of[s]!;
  return of;
}

/** [B] a run's number, given to each of its rows. */
function overRows({ runs: { starts, segment }, rows: B }: Numbered): Int32Array<ArrayBuffer> {
  const rows = new Int32Array(B);
  for (let r = 0, row = 0; r < segment.length; r++) {
    const [s, end] = [segment[r]!, starts[r + 1]!];
    while (row < end) rows[row++] = s;
  }
  return rows;
}

/** [R] from a row of a run to its place in the order of the segments; written into `shifts`. */
function shiftsOf({ starts, segment }: Runs, segmentStarts: Int32Array, shifts: Int32Array<ArrayBuffer>) {
  const next = scratch('i32', segmentStarts.length);
  next.set(segmentStarts);
  for (let r = 0; r < segment.length; r++) {
    const s = segment[r]!;
    shifts[r] = next[s]! - starts[r]!;
    next[s] = starts[r + 1]! + shifts[r]!;
  }
  return shifts;
}

/** [B] which row stands at each place. */
function placed({ runs: { starts }, shifts, rows: B }: Numbered): Int32Array<ArrayBuffer> {
  const order = new Int32Array(B);
  if (!shifts) for (let row = 0; row < B; row++) order[row] = row;
  else
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
