import { G2rpoError } from '../runtime/errors.ts';

type Json = Record<string, unknown>;

/**
 * Refuses to go on with a run under another configuration. Keys that do not change what was computed so far may differ.
 *
 * @throws INVALID_CONFIG  names every key that differs, with both values
 */
export function sameConfig(saved: unknown, given: unknown, mayDiffer: readonly string[]): void {
  const differences = differencesOf(saved, given, mayDiffer);
  if (differences.length > 0)
    throw new G2rpoError(
      'INVALID_CONFIG',
      `the run in this output folder has another configuration: ${differences.join('; ')}. Take another output folder, or the same configuration`,
      { differences },
    );
}

/** Every key that differs, with both values, but for those that may. */
export function differencesOf(saved: unknown, given: unknown, mayDiffer: readonly string[]): string[] {
  const differences: string[] = [];
  compare('', saved, given, (key, a, b) => {
    if (!mayDiffer.some((k) => key === k || key.startsWith(`${k}.`)))
      differences.push(`${key} was ${JSON.stringify(a)}, is now ${JSON.stringify(b)}`);
  });
  return differences;
}

function compare(path: string, a: unknown, b: unknown, differ: (key: string, a: unknown, b: unknown) => void): void {
  if (isObject(a) && isObject(b))
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
      compare(path ? `${path}.${key}` : key, a[key], b[key], differ);
  else if (JSON.stringify(a) !== JSON.stringify(b)) differ(path, a, b);
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
