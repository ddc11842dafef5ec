/** One case of a file of golden data. */
export interface GoldenCase {
  name: string;
  inputs: Record<string, unknown>;
  expected: Record<string, unknown>;
  tolerance: Tolerance;
}

export interface Tolerance {
  rtol: number;
  atol: number;
  /** of an implementation in f32; without them there is none to be judged */
  f32_rtol?: number;
  f32_atol?: number;
  /** float64: inputs that f32 cannot hold */
  requires?: string;
}

/** In what the numbers of a case are computed. */
export type Real = 'f64' | 'f32';

const NUMBERS: Readonly<Record<string, number>> = { NaN: Number.NaN, Infinity: Infinity, '-Infinity': -Infinity };

/**
 * The cases of a file; the strings NaN, Infinity and -Infinity are numbers again, and seeds, which are larger than a double holds
 * exactly, stay text.
 *
 * @throws Error  it is not a list of cases
 */
export function readCases(text: string): GoldenCase[] {
  const value: unknown = JSON.parse(text.replaceAll(/("seed"\s*:\s*)(\d+)/g, '$1"$2"'), (key, v: unknown) =>
    typeof v === 'string' && key !== 'name' && Object.hasOwn(NUMBERS, v) ? NUMBERS[v] : v,
  );
  if (!Array.isArray(value)) throw new Error(`must be a list of cases; got ${kindOf(value)}`);
  if (value.length === 0) throw new Error('must hold at least one case; got an empty list');
  return value.map((each: unknown, i) => {
    const problem = problemOf(each);
    if (problem) throw new Error(`case ${i}: ${problem}`);
    return each as GoldenCase;
  });
}

function problemOf(value: unknown): string | undefined {
  if (!isRecord(value)) return `must be an object; got ${kindOf(value)}`;
  if (typeof value['name'] !== 'string') return `name must be text; got ${kindOf(value['name'])}`;
  for (const key of ['inputs', 'expected', 'tolerance'])
    if (!isRecord(value[key])) return `${key} must be an object; got ${kindOf(value[key])}`;
  const tolerance = value['tolerance'] as Record<string, unknown>;
  for (const key of ['rtol', 'atol'])
    if (!isBound(tolerance[key]))
      return `tolerance.${key} must be a number of at least 0; got ${String(tolerance[key])}`;
  const strange = Object.keys(value).find((key) => !['name', 'inputs', 'expected', 'tolerance'].includes(key));
  return strange === undefined ? undefined : `${strange} is no part of a case`;
}

const isBound = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value < Infinity;
const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'a list' : value === undefined ? 'none' : typeof value;

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value with every number in it rounded to f32. */
export function rounded(value: unknown): unknown {
  if (typeof value === 'number') return Math.fround(value);
  if (Array.isArray(value)) return value.map(rounded);
  return isRecord(value) ? Object.fromEntries(Object.entries(value).map(([key, v]) => [key, rounded(v)])) : value;
}
