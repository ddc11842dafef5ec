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
