import { G2rpoError } from '../runtime/errors.ts';
import { limitMemory, memoryUse } from '../runtime/memory.ts';
import type { TrainConfig } from './config.ts';

type Train = TrainConfig['train'];
type MemoryKeys = Pick<Train, (typeof MEMORY)[number]>;
const MEMORY = ['microBatchTokens', 'memoryLimitMb', 'recompute'] as const;

/** Keys of a configuration that a run which lacked memory is to change before it goes on. */
export const MEMORY_KEYS = [
  ...MEMORY.map((key) => `train.${key}`),
  ...['train.optimizerInBackward', 'train.offloadOptimizer', 'rollout.batchPrompts', 'rollout.cacheMb'],
];

/** Rows of the policy at a time: as configured, and fewer from where memory turned out to be short. */
export class RowBudget {
  #rows: number;
  readonly #note: (text: string) => void | Promise<void>;

  constructor(rows: number, note: (text: string) => void | Promise<void>) {
    this.#rows = rows;
    this.#note = note;
  }

  /** That of a run which goes on from where `saved` was written, unless what is said of memory has changed since. */
  static of(
    train: MemoryKeys,
    saved: { config: { train: MemoryKeys }; rows?: number } | undefined,
    note: (text: string) => void | Promise<void>,
  ): RowBudget {
    const same = saved && MEMORY.every((key) => saved.config.train[key] === train[key]);
    return new RowBudget((same ? saved.rows : undefined) ?? train.microBatchTokens, note);
  }

  /** what a checkpoint keeps, so that a run that goes on from it cuts as the one that wrote it */
  get rows(): number {
    return this.#rows;
  }

  /**
   * Calls `body` with what `cut` makes of the budget. Where memory is short, again from the beginning with half the rows, which stays so:
   * the result is that of a run that was configured so.
   *
   * @throws OUT_OF_MEMORY  the parts cannot be cut finer
   */
  async within<P, R>(cut: (rows: number) => P[], body: (parts: P[]) => Promise<R>): Promise<R> {
    for (;;) {
      const parts = cut(this.#rows);
      try {
        return await body(parts);
      } catch (error) {
        if (!(error instanceof G2rpoError) || error.code !== 'OUT_OF_MEMORY') throw error;
        let rows = this.#rows;
        do rows = Math.floor(rows / 2);
        while (rows >= 1 && cut(rows).length === parts.length);
        if (rows < 1)
          throw new G2rpoError(
            'OUT_OF_MEMORY',
            `${error.message}, and micro-batches of one rollout each are the smallest there are`,
            error.details,
            { cause: error },
          );
        await this.#note(
          `memory is short (${error.message}): from here on micro-batches of ${rows} rows, as by train.microBatchTokens=${rows}`,
        );
        this.#rows = rows;
      }
    }
  }
}

/**
 * The only part of an update that the backward pass makes: a second one could be added to nothing. Where its memory is short it is not cut, for
 * the same reason.
 *
 * @throws INVALID_CONFIG  train.microBatchTokens cuts it; nothing has happened yet
 */
export function onlyPart<P>(cut: (rows: number) => P[], { microBatchTokens }: Pick<Train, 'microBatchTokens'>): P {
  const parts = cut(microBatchTokens);
  if (parts.length === 1) return parts[0]!;
  let [low, wanted] = [microBatchTokens, 2 * microBatchTokens];
  while (cut(wanted).length > 1) [low, wanted] = [wanted, 2 * wanted];
  while (wanted - low > 1) {
    const rows = Math.floor((low + wanted) / 2);
    if (cut(rows).length > 1) low = rows;
    else wanted = rows;
  }
  throw new G2rpoError(
    'INVALID_CONFIG',
    `train.microBatchTokens must be at least ${wanted} for this update, which train.optimizerInBackward makes in one backward pass; got ${microBatchTokens}. ` +
      'Take more, or fewer prompts (or demonstrations) to an update',
    { wanted, got: microBatchTokens },
  );
}

/** Holds the engine to `train.memoryLimitMb`, where there is one, until it is disposed of. */
export function holdToLimit({ memoryLimitMb }: Pick<MemoryKeys, 'memoryLimitMb'>): Disposable {
  const { limit } = memoryUse();
  if (memoryLimitMb !== undefined) limitMemory(Math.min(limit, 1e6 * memoryLimitMb));
  return { [Symbol.dispose]: () => memoryLimitMb !== undefined && limitMemory(limit) };
}

/** Memory that was not enough, or a device that is lost, is told with what can be done about it; any other error as it is. */
export function withRemedy(
  error: unknown,
  { memoryLimitMb, optimizerInBackward }: Pick<Train, 'memoryLimitMb' | 'optimizerInBackward'>,
): unknown {
  if (!(error instanceof G2rpoError)) return error;
  if (error.code === 'DEVICE_LOST') {
    const message = `${error.message}: the run goes on from its last checkpoint`;
    return new G2rpoError('DEVICE_LOST', message, error.details, { cause: error });
  }
  if (error.code !== 'OUT_OF_MEMORY') return error;
  const update = optimizerInBackward
    ? 'fewer prompts (or demonstrations) to an update, which train.optimizerInBackward never cuts'
    : 'train.microBatchTokens';
  const ways = `smaller rollout.batchPrompts, eval.batchPrompts or rollout.cacheMb, ${update}, or train.recompute, take less`;
  const message = `${error.message}${memoryLimitMb === undefined ? '' : ' (train.memoryLimitMb)'}; ${ways}, and g2rpo plan says what takes how much`;
  return new G2rpoError('OUT_OF_MEMORY', message, error.details, { cause: error });
}
