import { describe, G2rpoError, refuse, wantList } from '../runtime/errors.ts';

export { describe, isObject, refuse, wantList } from '../runtime/errors.ts';

/** Checks of what a caller gives, whose types nobody has checked. */

export type Reals = Float32Array | Float64Array;
/** Labels: rows with equal ones belong together. */
export type Labels = ArrayLike<number | string>;

/**
 * A list in f64, of its own memory: the caller may change what it gave while this is computed with.
 *
 * @throws INVALID_ARGUMENT  no list, or an entry is no number
 */
export function doubles(name: string, argument: string, values: unknown): Float64Array {
  wantList(name, argument, values);
  if (values instanceof Float64Array || values instanceof Float32Array || values instanceof Int32Array)
    return new Float64Array(values);
  return Float64Array.from(values, (value, b) =>
    typeof value === 'number' ? value : refuse(name, `${argument}[${b}]`, 'must be a number', describe(value), b),
  );
}

/** Labels as numbers from 0, by first appearance. @throws INVALID_ARGUMENT  no list, or an entry is no label */
export function numbered(name: string, argument: string, labels: unknown): { ids: Int32Array; names: string[] } {
  wantList(name, argument, labels);
  const numbers = new Map<unknown, number>();
  const ids = new Int32Array(labels.length);
  let [last, id]: [unknown, number] = [undefined, -1]; // labels mostly come in runs
  for (let b = 0; b < labels.length; b++) {
    const label = labels[b];
    if (b === 0 || label !== last) {
      // numbers beyond those that a double holds apart would bring strangers together
      if (typeof label !== 'string' && !Number.isSafeInteger(label))
        refuse(name, `${argument}[${b}]`, 'must be text or a whole number below 2⁵³', describe(label), b);
      last = label;
      id = numbers.get(label) ?? numbers.size;
      if (id === numbers.size) numbers.set(label, id);
    }
    ids[b] = id;
  }
  return { ids, names: [...numbers.keys()].map(String) };
}

/** @throws INVALID_ARGUMENT, DTYPE_MISMATCH  no list of f32 or f64, or not of the type of `like` */
export function wantReals(name: string, argument: string, value: unknown, like?: Reals): asserts value is Reals {
  const types = like === undefined ? [Float32Array, Float64Array] : [typeOf(like)];
  const wanted = types.map((type) => type.name).join(' or ');
  if (types.some((type) => value instanceof type)) return wantList(name, argument, value);
  const got = describe(value);
  const because = like === undefined ? '' : ', as logProbs is';
  throw new G2rpoError(
    ArrayBuffer.isView(value) ? 'DTYPE_MISMATCH' : 'INVALID_ARGUMENT',
    `${name}: ${argument} must be a ${wanted}${because}; got ${got}`,
    { argument, wanted, got },
  );
}

export const typeOf = (values: Reals) => (values instanceof Float64Array ? Float64Array : Float32Array);

/** A log-probability above 0 by no more, or an entropy below, was rounded: at logits of 10³, f32 is nearly that far apart. */
export const ROUNDING = 1e-4;

/**
 * @param above0  what is done with a log-probability that no probability has
 * @throws NON_FINITE  one is NaN, or infinite: a token that could not be sampled was
 * @throws INVALID_ARGUMENT  one is above 0 by more than rounding
 */
export function checkLogProbs(name: string, argument: string, values: Reals, above0: 'refuse' | 'take'): void {
  checkNumbers(name, argument, values, true);
  if (above0 === 'take') return;
  const row = values.findIndex((value) => value > ROUNDING);
  if (row >= 0)
    refuse(name, `${argument}[${row}]`, 'must be the logarithm of a probability, at most 0', String(values[row]), row);
}

/** @throws INVALID_ARGUMENT */
export function wantOneOf(name: string, argument: string, value: unknown, words: readonly string[]): void {
  if (!words.some((word) => word === value)) refuse(name, argument, `must be ${words.join(' or ')}`, describe(value));
}

/** @throws SHAPE_MISMATCH  where a list is given and has another length */
export function wantLength(name: string, argument: string, list: ArrayLike<unknown> | undefined, wanted: number): void {
  if (list && list.length !== wanted)
    throw new G2rpoError('SHAPE_MISMATCH', `${name}: ${argument} must have ${wanted} elements; got ${list.length}`, {
      argument,
      wanted,
      got: list.length,
    });
}

/** @throws INVALID_ARGUMENT  they do not rise from 0 */
export function checkTokenStarts(name: string, starts: Int32Array, tokens?: number): void {
  const of = tokens === undefined ? '' : ` (${tokens})`;
  if (!((starts as unknown) instanceof Int32Array))
    refuse(name, 'tokenStarts', 'must be an Int32Array', describe(starts));
  const told = (got: string) => refuse(name, 'tokenStarts', `must rise from 0 to the number of tokens${of}`, got);
  if (starts.length === 0) told('no elements'); // as a list has whose memory was given away
  starts.forEach((start, i) => {
    if (i === 0 ? start !== 0 : start < starts[i - 1]!) told(`${start} at ${i}`);
  });
  if (tokens !== undefined && starts.at(-1) !== tokens) told(`${starts.at(-1)} at the end`);
}

/** @throws NON_FINITE */
export function checkNumbers(name: string, argument: string, values: ArrayLike<number>, finite: boolean): void {
  const wanted = `must be ${finite ? 'finite' : 'a number'}`;
  for (let b = 0; b < values.length; b++) {
    const value = values[b]!;
    if (value - value === 0 || (!finite && value === value)) continue; // infinity less itself is NaN
    throw new G2rpoError('NON_FINITE', `${name}: ${argument}[${b}] ${wanted}; got ${value}`, {
      argument,
      row: b,
      wanted,
      got: value,
    });
  }
}
