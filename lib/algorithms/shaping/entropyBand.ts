import { z } from 'zod';
import { segments } from '../segments.ts';
import { taskBounds } from './tasks.ts';

/** Bounds between which a task's entropy may lie, nats. */
export interface Band {
  min: number;
  max: number;
}

const bandShape = {
  min: z.number().min(0).describe('nats'),
  max: z.number().min(0).describe('nats'),
};
const ordered = ({ min, max }: Band) => min <= max;
const unordered = { path: ['min'], message: 'must be at most max' };

export const ENTROPY_ESTIMATORS = ['exact', 'sampled_nll'] as const;
export type EntropyEstimator = (typeof ENTROPY_ESTIMATORS)[number];

export const entropyBandConfig = z
  .strictObject({
    coef: z.number().min(0).default(0).describe('weight of the penalty; 0 is off, as in the released configuration'),
    estimator: z
      .enum(ENTROPY_ESTIMATORS)
      .default('exact')
      .describe(
        'the entropy itself, or as in the released code the mean of −log-probability, whose expected gradient is 0',
      ),
    min: z.number().min(0).default(0.2).describe('nats; of tasks without bounds of their own; from the released code'),
    max: z.number().min(0).default(0.6).describe('nats; of tasks without bounds of their own; from the released code'),
    tasks: taskBounds(z.strictObject(bandShape).refine(ordered, unordered)).describe('bounds by task type'),
  })
  .refine(ordered, unordered)
  .prefault({});
export type EntropyBandConfig = z.output<typeof entropyBandConfig>;

/** The penalty of one entropy outside its band, and its slope; at a bound there is none. */
export function bandPenalty(entropy: number, { min, max }: Band): { penalty: number; slope: -1 | 0 | 1 } {
  if (entropy > max) return { penalty: entropy - max, slope: 1 };
  if (entropy < min) return { penalty: min - entropy, slope: -1 };
  return { penalty: 0, slope: 0 };
}

export interface TaskEntropy {
  /** mean over the tokens of the task, nats */
  entropy: number;
  penalty: number;
  slope: -1 | 0 | 1;
  tokens: number;
}

/**
 * How far the entropies of tasks are outside their bands, and the slope of that at every token.
 *
 *   H_τ = mean over the tokens of task τ      penalty = Σ_τ max(0, H_τ − max_τ) + max(0, min_τ − H_τ)
 *   slopes = ∂penalty/∂(entropy of the token) = ±1 / (tokens of τ) outside the band, 0 within
 *
 * Means are over the whole mini-batch. A task without tokens has no entropy and no penalty; the released code counts min_τ for it.
 * `values` are entropies, or with the estimator `sampled_nll` −log-probabilities; then slopes are by these.
 *
 * @param taskIds  [B]
 * @param tokenStarts  [B+1]
 * @source arXiv:2604.08539, entropy shaping
 */
export function entropyPenalty(
  values: ArrayLike<number>,
  taskIds: Int32Array,
  tokenStarts: Int32Array,
  bandOf: (taskId: number) => Band,
): { penalty: number; slopes: Float64Array; tasks: Map<number, TaskEntropy> } {
  const by = segments(taskIds);
  const slopes = new Float64Array(values.length);
  const tasks = new Map<number, TaskEntropy>();
  let total = 0;
  for (let s = 0; s + 1 < by.starts.length; s++) {
    const rows = by.order.subarray(by.starts[s], by.starts[s + 1]);
    let [sum, tokens] = [0, 0];
    for (const b of rows) {
      for (let i = tokenStarts[b]!; i < tokenStarts[b + 1]!; i++) sum += values[i]!;
      tokens += tokenStarts[b + 1]! - tokenStarts[b]!;
    }
    if (tokens === 0) continue;
    const taskId = taskIds[rows[0]!]!;
    const entropy = sum / tokens;
    const { penalty, slope } = bandPenalty(entropy, bandOf(taskId));
    total += penalty;
    tasks.set(taskId, { entropy, penalty, slope, tokens });
    for (const b of rows) slopes.fill(slope / tokens, tokenStarts[b], tokenStarts[b + 1]);
  }
  return { penalty: total, slopes, tasks };
}

export const bandOfTask = ({ min, max, tasks }: EntropyBandConfig, task: string): Band => tasks[task] ?? { min, max };
