import { createHash } from 'node:crypto';
import path from 'node:path';
import { G2rpoError, wantList, wantObject } from '../runtime/errors.ts';
import type { Prompt } from '../types.ts';

export interface PromptStreamOptions {
  seed: number;
  /** default true; without it every epoch is in the order of the dataset */
  shuffle?: boolean;
  /** every task type gets an equal share of every draw, however many rows it has; default false */
  taskBalance?: boolean;
}

/** Where a stream stands, as JSON. */
export interface PromptStreamState {
  /** of the dataset: a stream does not go on with another one */
  digest: string;
  seed: number;
  shuffle: boolean;
  taskBalance: boolean;
  /** prompts drawn since the start */
  drawn: number;
}

export interface PromptStream {
  /** The next n prompts; after the last one of an epoch the next epoch begins. */
  next(n: number): Prompt[];
  /** Whole passes over the dataset, by the number of prompts drawn. */
  epoch(): number;
  state(): PromptStreamState;
  /** Goes on where `state` was taken. @throws INVALID_CHECKPOINT  another dataset, seed or order */
  restore(state: PromptStreamState): void;
}

/** Prompts that are drawn together: all of them, or those of one task type. */
interface Lane {
  prompts: Prompt[];
  seed: string;
  epoch: number;
  order: Uint32Array;
}

/**
 * An endless stream over prompts, whose order is a function of seed and epoch alone.
 *
 * With `taskBalance` the task types take turns, in the order of their names, and each has its own epochs: shares of a
 * draw differ by at most one, and small tasks come round more often.
 *
 * @throws NO_PROMPTS  there are none
 * @throws INVALID_ARGUMENT  the seed is not a whole number
 */
export function createPromptStream(prompts: readonly Prompt[], options: PromptStreamOptions): PromptStream {
  wantList('prompt stream', 'prompts', prompts);
  wantObject('prompt stream', 'options', options);
  const { seed, shuffle = true, taskBalance = false } = options;
  if (prompts.length === 0) throw new G2rpoError('NO_PROMPTS', 'prompt stream: needs at least one prompt; got none');
  if (!Number.isSafeInteger(seed))
    throw new G2rpoError('INVALID_ARGUMENT', `prompt stream: seed must be a whole number; got ${seed}`);
  const digest = digestOf(prompts);
  const lanes = lanesOf(prompts, seed, taskBalance);
  let drawn = 0;

  function draw(): Prompt {
    const lane = lanes[drawn % lanes.length]!;
    const turn = Math.floor(drawn / lanes.length);
    drawn++;
    const [epoch, at] = [Math.floor(turn / lane.prompts.length), turn % lane.prompts.length];
    if (lane.epoch !== epoch) {
      lane.epoch = epoch;
      lane.order = orderOf(lane.prompts.length, shuffle ? `${lane.seed}/${epoch}` : undefined);
    }
    return lane.prompts[lane.order[at]!]!;
  }

  return {
    next(n) {
      if (!Number.isSafeInteger(n) || n < 0)
        throw new G2rpoError('INVALID_ARGUMENT', `prompt stream: n must be a whole number of at least 0; got ${n}`);
      return Array.from({ length: n }, draw);
    },
    epoch: () => Math.floor(drawn / prompts.length),
    state: () => ({ digest, seed, shuffle, taskBalance, drawn }),
    restore(state) {
      const own = { digest, seed, shuffle, taskBalance };
      for (const key of ['digest', 'seed', 'shuffle', 'taskBalance'] as const)
        if (state[key] !== own[key])
          throw new G2rpoError(
            'INVALID_CHECKPOINT',
            `prompt stream: the state is of another ${key === 'digest' ? 'dataset' : key}: wanted ${own[key]}; got ${state[key]}`,
            { key, wanted: own[key], got: state[key] },
          );
      if (!Number.isSafeInteger(state.drawn) || state.drawn < 0)
        throw new G2rpoError('INVALID_CHECKPOINT', `prompt stream: drawn must be a whole number; got ${state.drawn}`);
      drawn = state.drawn;
    },
  };
}

/** What gets an equal share of every draw, and how many prompts it has: task types, or the whole data set, which is none. */
export const laneSizes = (prompts: readonly Prompt[], taskBalance: boolean): { task?: string; size: number }[] =>
  [...byLane(prompts, taskBalance)].map(([task, lane]) => ({ ...(taskBalance && { task }), size: lane.length }));

function lanesOf(prompts: readonly Prompt[], seed: number, taskBalance: boolean): Lane[] {
  return [...byLane(prompts, taskBalance)].map(([task, lane]) => ({
    prompts: lane,
    seed: `${seed}/${task}`,
    epoch: -1,
    order: new Uint32Array(),
  }));
}

/** Prompts by task type, in the order of the names. */
function byLane(prompts: readonly Prompt[], taskBalance: boolean): Map<string, Prompt[]> {
  const lanes = new Map<string, Prompt[]>();
  for (const prompt of prompts) {
    const task = taskBalance ? prompt.taskType : '';
    const lane = lanes.get(task);
    if (lane) lane.push(prompt);
    else lanes.set(task, [prompt]);
  }
  return new Map([...lanes].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A permutation of 0…n−1 that belongs to the seed; the identity without one. */
function orderOf(n: number, seed: string | undefined): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  if (seed === undefined) return order;
  const random = generator(seed);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Uniform numbers in [0, 1) with 32 bits each: sfc32, started from a hash of the seed. */
function generator(seed: string): () => number {
  const hash = createHash('sha256').update(seed).digest();
  let [a, b, c, counter] = [hash.readInt32LE(0), hash.readInt32LE(4), hash.readInt32LE(8), 1];
  return () => {
    const result = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return (result >>> 0) / 2 ** 32;
  };
}

/** Of what is asked and wanted, in order. Images and videos count by name, so that a dataset may move to another folder. */
function digestOf(prompts: readonly Prompt[]): string {
  const hash = createHash('sha256').update(String(prompts.length));
  for (const { problem, images, videos, problemType, taskType, options, answer } of prompts) {
    const names = images.map((image) => path.basename(image));
    const clips = videos?.map(({ frames, fps }) => [fps, ...[frames].flat().map((file) => path.basename(file))]);
    hash.update(JSON.stringify([problem, names, problemType, taskType, options, answer, ...(clips ? [clips] : [])]));
  }
  return hash.digest('hex');
}
