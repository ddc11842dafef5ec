const MOST_KEPT = 1 << 16;
const kept = { i32: new Int32Array(0), f64: new Float64Array(0) };

/**
 * An array of this length, of whatever was in it, to be used until the next one of the type is asked for: nobody else must be called meanwhile who might.
 * Arrays of a few thousand numbers that live for some microseconds would otherwise be most of what a batch leaves to the garbage collector.
 */
export function scratch<D extends keyof typeof kept>(dtype: D, length: number): (typeof kept)[D] {
  const make = (n: number) => (dtype === 'i32' ? new Int32Array(n) : new Float64Array(n)) as (typeof kept)[D];
  if (length > MOST_KEPT) return make(length);
  if (kept[dtype].length < length) kept[dtype] = make(Math.min(2 * length, MOST_KEPT));
  return kept[dtype].subarray(0, length) as (typeof kept)[D];
}
