type Json = Record<string, unknown>;

/** Every key in which two configurations differ, with both values, but for those that may. */
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
