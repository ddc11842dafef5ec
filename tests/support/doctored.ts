type Path = readonly (string | number)[];

/** Where every number below a value stands, as a path. */
export function numbersIn(value: unknown, path: Path = []): Path[] {
  if (typeof value === 'number') return [path];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    numbersIn(each, [...path, Array.isArray(value) ? Number(key) : key]),
  );
}

/** The names on a path, without the places in lists. */
export const namesOn = (path: Path): string => path.filter((part) => typeof part === 'string').join('.');

/** A copy with another number, or another text, at the end of a path. */
export function doctored(value: unknown, [key, ...rest]: Path): unknown {
  if (key === undefined) return typeof value === 'string' ? `${value}x` : other(value as number);
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) }) as Record<string, unknown>;
  copy[key] = doctored(copy[key], rest);
  return copy;
}

const other = (x: number): number => x + 0.37 + Math.abs(x) / 50;
