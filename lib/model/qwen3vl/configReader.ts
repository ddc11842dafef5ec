import { G2rpoError } from '../../runtime/errors.ts';

/** Reads keys of a JSON object by dotted path and collects what is wrong instead of stopping at the first problem. */
export class ConfigReader {
  readonly problems: string[] = [];
  readonly #root: unknown;

  constructor(root: unknown) {
    this.#root = root;
    if (!isObject(root)) this.problem(`must be a JSON object; got ${describe(root)}`);
  }

  problem(message: string): void {
    this.problems.push(message);
  }

  raw(path: string): unknown {
    let at = this.#root;
    for (const key of path.split('.')) at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined;
    return at;
  }

  has(path: string): boolean {
    return this.raw(path) !== undefined && this.raw(path) !== null;
  }

  isObject(path: string): boolean {
    return isObject(this.raw(path));
  }

  integer(path: string, least = 1, most = 2 ** 31 - 1): number {
    const value = this.raw(path);
    if (isCount(value) && value >= least && value <= most) return value;
    this.#wrong(path, `an integer from ${least} to ${most}`);
    return least;
  }

  positive(path: string): number {
    const value = this.raw(path);
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    this.#wrong(path, 'a positive number');
    return 1;
  }

  boolean(path: string): boolean {
    const value = this.raw(path);
    if (typeof value === 'boolean') return value;
    this.#wrong(path, 'true or false');
    return false;
  }

  integers(path: string): number[] {
    const value = this.raw(path);
    if (Array.isArray(value) && value.every(isCount)) return value;
    this.#wrong(path, 'a list of integers');
    return [];
  }

  triple(path: string): [number, number, number] {
    const value = this.raw(path);
    if (Array.isArray(value) && value.length === 3 && value.every(isCount)) return [value[0]!, value[1]!, value[2]!];
    this.#wrong(path, 'three integers');
    return [0, 0, 0];
  }

  /** A key that may be absent, but where present has the only value that is supported. */
  expect(path: string, only: string | number | boolean): void {
    if (this.has(path) && this.raw(path) !== only) this.#wrong(path, JSON.stringify(only));
  }

  /** @throws INVALID_CHECKPOINT  all problems at once, if there are any */
  finish(file: string): void {
    const { problems } = this;
    if (problems.length > 0)
      throw new G2rpoError('INVALID_CHECKPOINT', `${file}: ${problems.join('; ')}`, { file, problems });
  }

  #wrong(path: string, wanted: string): void {
    const value = this.raw(path);
    this.problem(value === undefined ? `${path} is missing` : `${path} must be ${wanted}; got ${describe(value)}`);
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An integer from 0 that a double holds exactly. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A value as it should appear in a message: JSON, cut short. */
export function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
