import { G2rpoError } from '../runtime/errors.ts';
import type { Reward, RewardFunction, RewardInput } from '../types.ts';
import { formatReward } from './format.ts';
import { combine, scoreResponse, type RewardOptions } from './scoreResponse.ts';
import { createRewardWorkers } from './rewardWorkers.ts';

export interface RewardRunnerOptions extends RewardOptions {
  /** a module (.ts, .js, .mjs, .cjs) whose default export is a reward function; it runs in worker threads */
  file?: string;
  /** a reward function of this process; without `file` and `fn` the built-in rewards are used */
  fn?: RewardFunction;
  /** how long one call may take; default 10 000 */
  timeoutMs?: number;
  /** calls at a time; default 4. For `file` it is the number of worker threads */
  concurrency?: number;
}

/** What came of one input: a reward, or why there is none. */
export type Scored = Reward | { failed: string };

export interface RewardRunner {
  /** One result per input, in the order of the inputs. A failure is a result, it never rejects. */
  score(inputs: RewardInput[]): Promise<Scored[]>;
  /** Ends the worker threads. */
  close(): Promise<void>;
}

/**
 * Runs reward functions that may throw, hang or return nonsense.
 *
 * A returned number is an accuracy and is combined with the format as the built-in rewards are; a returned `Reward` is
 * taken as it is. A call that throws, takes too long or returns anything else fails with a reason that names the row
 * of its prompt. A module's endless loop is ended together with its thread, and a new thread takes its place. An
 * endless loop in `fn` cannot be interrupted, for it runs in the thread that would have to notice: there `timeoutMs`
 * bounds only what is awaited.
 *
 * @throws INVALID_CONFIG  both `file` and `fn`, a module that cannot be loaded or exports no function by default,
 *   a timeout or concurrency that is not positive
 */
export async function createRewardRunner(options: RewardRunnerOptions = {}): Promise<RewardRunner> {
  const { file, fn, timeoutMs = 10_000, concurrency = 4 } = options;
  if (file !== undefined && fn !== undefined)
    throw new G2rpoError('INVALID_CONFIG', 'rewards: give either a file or a function; got both', { file });
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31))
    throw new G2rpoError('INVALID_CONFIG', `rewards: timeoutMs must be in (0, 2^31); got ${timeoutMs}`);
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new G2rpoError('INVALID_CONFIG', `rewards: concurrency must be a positive integer; got ${concurrency}`);
  combine(0, 0, options.formatWeight); // refuses a bad weight now, not in the middle of a run

  const workers = file === undefined ? undefined : await createRewardWorkers(file, concurrency, timeoutMs);
  const call = workers?.call ?? (fn ? inProcess(fn, timeoutMs) : (input: RewardInput) => scoreResponse(input, options));

  async function scoreOne(input: RewardInput): Promise<Scored> {
    try {
      return asReward(await call(input), input, options);
    } catch (error) {
      const { file: source, row } = input.prompt.source;
      return { failed: `${source} row ${row}: ${error instanceof Error ? error.message : String(error)}` };
    }
  }

  let free = concurrency;
  const waiting: (() => void)[] = [];
  async function inTurn(input: RewardInput): Promise<Scored> {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await scoreOne(input);
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  }

  return {
    score: (inputs) => Promise.all(inputs.map(inTurn)),
    close: async () => workers?.close(),
  };
}

function inProcess(fn: RewardFunction, timeoutMs: number): (input: RewardInput) => Promise<unknown> {
  return async (input) => {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the reward function took longer than ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([invoke(fn, input), deadline]);
    } finally {
      clearTimeout(timer);
    }
  };
}

async function invoke(fn: RewardFunction, input: RewardInput): Promise<unknown> {
  try {
    return await fn(input);
  } catch (error) {
    throw new Error(`the reward function threw: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function asReward(value: unknown, input: RewardInput, options: RewardRunnerOptions): Reward {
  if (typeof value === 'number') {
    const format = formatReward(input.response, options.tags);
    return combine(fraction(value, 'accuracy'), format, options.formatWeight);
  }
  if (typeof value !== 'object' || value === null)
    throw new Error(
      `the reward function must return a number or a Reward; got ${value === null ? 'null' : typeof value}`,
    );
  const { overall, accuracy, format, structure } = value as Partial<Reward>;
  if (typeof overall !== 'number' || !Number.isFinite(overall))
    throw new Error(`the reward function must return a finite overall; got ${String(overall)}`);
  const reward = { overall, accuracy: fraction(accuracy, 'accuracy'), format: fraction(format, 'format') };
  return structure === undefined ? reward : { ...reward, structure: fraction(structure, 'structure') };
}

function fraction(value: unknown, name: string): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value;
  throw new Error(`the reward function must return ${name} in [0, 1]; got ${String(value)}`);
}
