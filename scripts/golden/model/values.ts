import { createHash } from 'node:crypto';

/** Parts of a file of golden data, as what they must be. */

/** @throws Error  a value is no integer that an Int32Array holds */
export function integers(where: string, values: readonly unknown[]): Int32Array<ArrayBuffer> {
  const strange = values.find((value) => !Number.isInteger(value) || Math.abs(value as number) >= 2 ** 31);
  if (strange !== undefined) throw new Error(`${where} must be integers; got ${JSON.stringify(strange)}`);
  return Int32Array.from(values as number[]);
}

/**
 * What is described must be run: a key that is not known would be left out in silence.
 *
 * @throws Error  a key is none of `known`; a name that ends in * stands for all that begin so
 */
export function onlyKeys(where: string, value: object, known: readonly string[]): void {
  const fits = (key: string, name: string) => (name.endsWith('*') ? key.startsWith(name.slice(0, -1)) : key === name);
  const strange = Object.keys(value).find((key) => !known.some((name) => fits(key, name)));
  if (strange !== undefined) throw new Error(`${where}: no kind of case has a key ${strange}`);
}

export const sha256 = (content: string | NodeJS.ArrayBufferView): string =>
  createHash('sha256').update(content).digest('hex');

export const norm = (x: ArrayLike<number>): number => Math.sqrt(sum(Array.from(x, (v) => v * v)));
export const sum = (x: Iterable<number>): number => Array.from(x).reduce((s, v) => s + v, 0);
export const mean = (x: ArrayLike<number>): number => sum(Array.from(x)) / x.length;
