import { z } from 'zod';
import { G2rpoError } from '../../runtime/errors.ts';
import type { ObservedBatch } from '../algorithm.ts';
import { bandOfTask, type Band, type EntropyBandConfig } from './entropyBand.ts';
import { thresholdsOfTask, type LengthRewardConfig, type LengthThresholds } from './lengthReward.ts';
import { CORRECT, proposeBand, proposeThresholds } from './proposal.ts';

export const calibrationConfig = z
  .strictObject({
    everyBatches: z
      .int()
      .min(0)
      .default(0)
      .describe(
        'rollout batches after which the bounds of shaping follow the right answers; 0 leaves them as they are',
      ),
    minCorrect: z.int().min(1).default(32).describe('right answers of a task below which its bounds stay'),
    hysteresis: z
      .number()
      .min(0)
      .default(0.1)
      .describe('the bounds of a task stay unless one would move by more than this share of itself'),
    window: z.int().min(1).default(8).describe('rollout batches whose right answers are looked at'),
  })
  .prefault({});
export type CalibrationConfig = z.output<typeof calibrationConfig>;

const count = z.int().min(0);
const stateOf = z.strictObject({
  batches: count,
  /** the last batches: by task, a length and a mean entropy for every right answer */
  window: z.array(
    z.record(z.string(), z.strictObject({ lengths: z.array(z.number()), entropies: z.array(z.number()) })),
  ),
  thresholds: z.record(z.string(), z.tuple([z.number(), z.number(), z.number(), z.number()])),
  bands: z.record(z.string(), z.strictObject({ min: z.number(), max: z.number() })),
});
type State = z.output<typeof stateOf>;

/** Bounds of the shaping by task: those of the configuration, or where they are told to, those that the right answers ask for. */
export interface Calibration {
  thresholdsOf(task: string): LengthThresholds;
  bandOf(task: string): Band;
  /** Looks at a rollout batch that has been learned from; every so often the bounds of its tasks follow. */
  observe(batch: ObservedBatch): void;
  /** The bounds of these tasks, where they follow, as metrics. */
  metrics(tasks: readonly string[]): Record<string, number>;
  /** null where nothing follows. */
  state(): unknown;
  /** @throws INVALID_CHECKPOINT  the state is not its own */
  restore(state: unknown): void;
}

/**
 * Bounds that follow the right answers of the last `window` rollout batches, each time `everyBatches` have been learned from. A task
 * keeps its bounds where it has fewer than `minCorrect` right answers, or where none of them would move by more than `hysteresis`
 * times itself; otherwise all of them move, so that they stay in order. Of length and entropy only what is shaped is looked at.
 */
export function createCalibration(
  config: CalibrationConfig,
  { lengthReward, entropyBand }: { lengthReward: LengthRewardConfig; entropyBand: EntropyBandConfig },
): Calibration {
  const shaped = { length: lengthReward.weight > 0, entropy: entropyBand.coef > 0 };
  const follows = config.everyBatches > 0 && (shaped.length || shaped.entropy);
  let now: State = { batches: 0, window: [], thresholds: {}, bands: {} };
  const thresholdsOf = (task: string) => now.thresholds[task] ?? thresholdsOfTask(lengthReward, task);
  const bandOf = (task: string) => now.bands[task] ?? bandOfTask(entropyBand, task);
  const moves = (old: readonly number[], fresh: readonly number[]) =>
    old.some((bound, i) => Math.abs(fresh[i]! - bound) > config.hysteresis * Math.abs(bound));

  function follow(task: string): void {
    const seen = now.window.flatMap((batch) => batch[task] ?? []);
    const lengths = seen.flatMap((each) => each.lengths);
    if (lengths.length < config.minCorrect) return;
    const [thresholds, band] = [proposeThresholds(lengths), proposeBand(seen.flatMap((each) => each.entropies))];
    if (shaped.length && moves(thresholdsOf(task), thresholds)) now.thresholds[task] = [...thresholds];
    const old = bandOf(task);
    if (shaped.entropy && moves([old.min, old.max], [band.min, band.max])) now.bands[task] = band;
  }

  return {
    thresholdsOf,
    bandOf,
    observe(batch) {
      if (!follows) return;
      now.window = [...now.window, rightAnswers(batch)].slice(-config.window);
      now.batches++;
      if (now.batches % config.everyBatches > 0) return;
      for (const task of new Set(now.window.flatMap((each) => Object.keys(each)))) follow(task);
    },
    metrics(tasks) {
      if (!follows) return {};
      return Object.fromEntries(
        tasks.flatMap((task): [string, number][] => {
          const [minStart, peakStart, peakEnd, maxEnd] = thresholdsOf(task);
          const { min, max } = bandOf(task);
          const lengths = { min_start: minStart, peak_start: peakStart, peak_end: peakEnd, max_end: maxEnd };
          const right = now.window.reduce((sum, each) => sum + (each[task]?.lengths.length ?? 0), 0);
          return [
            [`shaping/correct/${task}`, right],
            ...(shaped.length ? named('length', lengths, task) : []),
            ...(shaped.entropy ? named('entropy', { min, max }, task) : []),
          ];
        }),
      );
    },
    state: () => (follows ? structuredClone(now) : null),
    restore(state) {
      if (!follows && (state === null || state === undefined)) return;
      const parsed = stateOf.safeParse(state);
      if (!follows || !parsed.success)
        throw new G2rpoError(
          'INVALID_CHECKPOINT',
          `calibration: the state must ${follows ? 'hold batches, window, thresholds and bands' : 'be null, nothing follows'}; got ${JSON.stringify(state)?.slice(0, 200)}`,
        );
      now = parsed.data;
    },
  };
}

const named = (of: string, bounds: Record<string, number>, task: string): [string, number][] =>
  Object.entries(bounds).map(([name, bound]) => [`shaping/${of}_${name}/${task}`, bound]);

/** By task, length and mean entropy of every right answer. */
function rightAnswers({ tasks, lengths, accuracies, entropies }: ObservedBatch): State['window'][number] {
  const found: State['window'][number] = {};
  tasks.forEach((task, b) => {
    if (!(accuracies[b]! >= CORRECT)) return;
    const of = (found[task] ??= { lengths: [], entropies: [] });
    of.lengths.push(lengths[b]!);
    of.entropies.push(entropies[b]!);
  });
  return found;
}
