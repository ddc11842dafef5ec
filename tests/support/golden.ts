import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export const goldenFolder = resolve(import.meta.dirname, '../golden');

export interface GoldenCase {
  name: string;
  inputs: Record<string, unknown>;
  expected: Record<string, unknown>;
  tolerance: { rtol?: number; atol?: number; f32_rtol?: number; f32_atol?: number; requires?: string };
}

/** The cases of a file below tests/golden; the strings "NaN" and "±Infinity" are numbers again. */
export function goldenCases(file: string): GoldenCase[] {
  const special: Record<string, number> = { NaN: Number.NaN, Infinity: Infinity, '-Infinity': -Infinity };
  // seeds are larger than a double holds exactly: they stay text
  const text = readFileSync(resolve(goldenFolder, file), 'utf8').replace(/"seed": (\d+)/g, '"seed": "$1"');
  return JSON.parse(text, (_, v) => (typeof v === 'string' && v in special ? special[v] : v)) as GoldenCase[];
}
