/** Every way in which g2rpo refuses something. The list is closed: a program may switch over it. */
export const ERROR_CODES = [
  'INVALID_ARGUMENT', // a value outside its domain
  'DTYPE_MISMATCH', // an array of another element type than the signature says
  'SHAPE_MISMATCH', // dimensions that do not agree with the signature or with each other
  'NON_FINITE', // NaN or infinity where only finite numbers make sense
  'KERNEL_UNAVAILABLE', // the backend has no kernel of this name or dtype
  'BACKEND_UNAVAILABLE', // the device that was asked for is not here
  'CONTRACT_MISMATCH', // the native addon and the TypeScript declarations disagree
  'NATIVE_UNAVAILABLE', // the addon could not be loaded
  'DISPOSED', // a tensor, scope or policy used after its end
  'OUT_OF_MEMORY', // an allocation was refused
  'DEVICE_FAILED', // a device or its driver, in its own words
  'DEVICE_LOST', // the same, and this process can use the device no more: it has to be started again
  'INVALID_CONFIG', // a configuration with one or more problems
  'INVALID_DATA', // a dataset row that does not say what the format wants
  'INVALID_IMAGE', // an image that is missing, truncated, too large or not an image
  'INVALID_VIDEO', // frames that are missing, of several sizes, too few or too many, or a file that is no frames
  'INVALID_CHECKPOINT', // a checkpoint folder that is incomplete, corrupt or of another architecture
  'INVALID_PROMPT', // a prompt that is too long or whose placeholders and media disagree
  'REWARD_FAILED', // a reward function that threw, timed out or returned no number
  'NO_PROMPTS', // nothing left to train on
  'IO', // the file system refused: full disk, missing permission
  'ABORTED', // the caller asked to stop
  'INTERNAL', // a bug of ours
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * The one error class. `code` is from the closed list, `details` holds what a program may want to read
 * (the argument, what was wanted, what came). The message says who, which argument, what was wanted, what came.
 */
export class G2rpoError extends Error {
  override readonly name = 'G2rpoError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** @param row  of the batch, where it is one that is to blame */
export function refuse(name: string, argument: string, wanted: string, got: string, row?: number): never {
  const details = { argument, wanted, got, ...(row !== undefined && { row }) };
  throw new G2rpoError('INVALID_ARGUMENT', `${name}: ${argument} ${wanted}; got ${got}`, details);
}

/** A value in a few words. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) return 'a list';
  const { name } = (Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null)?.constructor ?? {};
  return typeof name === 'string' && name !== 'Object' ? name : 'an object';
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

/** @throws INVALID_ARGUMENT  no list, or one whose memory was given to another thread */
export function wantList<T>(name: string, argument: string, value: T): asserts value is T & ArrayLike<unknown> {
  if (!isList(value)) refuse(name, argument, 'must be a list', describe(value));
  if (ArrayBuffer.isView(value) && isDetached(value.buffer))
    refuse(name, argument, 'must be a list with its memory', `${describe(value)} whose buffer is detached`);
}

/** Its length is 0 then, as that of an empty one is. */
function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** @throws INVALID_ARGUMENT */
export function wantObject(name: string, argument: string, value: unknown): asserts value is object {
  if (!isObject(value) || isList(value)) refuse(name, argument, 'must be an object', describe(value));
}

/** Options by name, none of which is a slip. @throws INVALID_ARGUMENT  no object, or an option that there is not, with the nearest */
export function wantOptions<T extends object>(
  name: string,
  argument: string,
  value: T,
  keys: readonly (keyof T & string)[],
): void {
  wantObject(name, argument, value);
  for (const key of Object.keys(value)) {
    if (keys.some((each) => each === key)) continue;
    const near = nearestName(key, keys);
    refuse(name, argument, `must hold none but ${keys.join(', ')}`, near ? `${key}; did you mean ${near}?` : key);
  }
}

/** What a process that was started by another of ours tells it of its failure. */
export interface Failure {
  code: ErrorCode;
  message: string;
}

/** The nearest of `names` to `given` by edit distance, if it is near enough to be a likely slip. */
export function nearestName(given: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(given.length / 3)) + 1;
  for (const name of names) {
    const distance = editDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [name, distance];
  }
  return best;
}

/** Levenshtein distance between two sequences, elements compared by ===. */
export function editDistance<T>(a: ArrayLike<T>, b: ArrayLike<T>): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
