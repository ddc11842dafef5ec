import { isRecord, type Real } from './case.ts';

/** Bounds of |came − wanted| ≤ atol + rtol·|wanted|. */
export interface Bounds {
  rtol: number;
  atol: number;
}

/** How far what came is from what was wanted. */
export interface Comparison {
  /** the largest error, as a multiple of its bound */
  worst: number;
  /** where that is: `advantage[3]` */
  where: string;
  /** numbers and texts that were looked at */
  compared: number;
  /** what is wrong, a line each */
  failures: string[];
}

/**
 * Every leaf of what was wanted, held against what came. What came may have more keys than were asked for; a Map must have the same.
 *
 * @param at  what the values are part of, for messages
 */
export function compare(wanted: unknown, came: unknown, bounds: Bounds, real: Real, at = ''): Comparison {
  const result: Comparison = { worst: 0, where: '', compared: 0, failures: [] };
  visit(wanted, came, at);
  return result;

  function visit(want: unknown, got: unknown, path: string): void {
    if (Array.isArray(want)) visitList(want, got, path);
    else if (isRecord(want)) visitRecord(want, got, path);
    else if (typeof want === 'number') visitNumber(want, got, path);
    else {
      result.compared++;
      if (want !== got) fail(path, JSON.stringify(want), said(got));
    }
  }

  function visitList(want: unknown[], got: unknown, path: string): void {
    if (!isList(got)) return fail(path, `a list of ${want.length}`, said(got));
    if (got.length !== want.length) return fail(path, `a list of ${want.length}`, `one of ${got.length}`);
    want.forEach((each, i) => visit(each, got[i], `${path}[${i}]`));
  }

  function visitRecord(want: Record<string, unknown>, got: unknown, path: string): void {
    const exact = got instanceof Map;
    if (!exact && !isRecord(got)) return fail(path, `an object with ${Object.keys(want).join(', ')}`, said(got));
    const entries: Record<string, unknown> = exact ? Object.fromEntries(got as Map<string, unknown>) : got;
    for (const [key, each] of Object.entries(want)) {
      const at = path === '' ? key : `${path}.${key}`;
      if (Object.hasOwn(entries, key)) visit(each, entries[key], at);
      else fail(at, 'a key that is known', `${Object.keys(entries).join(', ') || 'none'} are`);
    }
    const surplus = exact ? Object.keys(entries).filter((key) => !Object.hasOwn(want, key)) : [];
    for (const key of surplus) fail(`${path}.${key}`, 'nothing', said(entries[key]));
  }

  function visitNumber(want: number, got: unknown, path: string): void {
    result.compared++;
    if (typeof got !== 'number') return fail(path, String(want), said(got));
    const value = real === 'f32' ? Math.fround(got) : got;
    const error = Object.is(want, value) || want === value ? 0 : Math.abs(value - want);
    const bound = bounds.atol + bounds.rtol * Math.abs(want);
    const multiple = error === 0 ? 0 : Number.isFinite(want) && !Number.isNaN(error) ? error / bound : Infinity;
    if (multiple > result.worst || result.where === '') Object.assign(result, { worst: multiple, where: path });
    if (multiple > 1)
      fail(path, String(want), multiple < Infinity ? `${value}, ${multiples(multiple)} off` : String(value));
  }

  function fail(path: string, want: string, got: string): void {
    result.failures.push(`${path || 'expected'}: wanted ${want}; came ${got}`);
  }
}

/** 0.31 tolerances */
export const multiples = (multiple: number): string => `${multiple === 0 ? '0' : multiple.toPrecision(2)} tolerances`;

const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value);

function said(value: unknown): string {
  if (isList(value)) return `a list of ${value.length}`;
  return value === undefined ? 'none' : (JSON.stringify(value) ?? String(value));
}
