import { z } from 'zod';
import { wantObject } from '../../runtime/errors.ts';
import { checkTokenStarts, wantLength, wantList } from '../arguments.ts';

export const rolloutCorrectionConfig = z
  .strictObject({
    level: z
      .enum(['none', 'token', 'sequence'])
      .default('none')
      .describe('truncated importance sampling against the engine that sampled'),
    cap: z.number().positive().default(2).describe('largest importance weight'),
    normalise: z.boolean().default(false).describe('divide the weights by their mean over the batch'),
  })
  .prefault({});
export type RolloutCorrection = z.output<typeof rolloutCorrectionConfig>;

/**
 * [N] What multiplies the loss of every token because the engine that sampled and the trainer differ: min(exp(±20-clamped
 * logOld − logRollout), cap), by token or with the sum over a response.
 *
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH
 * @source verl, truncated importance sampling
 */
export function importanceWeights(
  oldLogProbs: ArrayLike<number>,
  rolloutLogProbs: ArrayLike<number>,
  tokenStarts: Int32Array,
  settings: RolloutCorrection,
): Float64Array {
  const who = 'importanceWeights';
  wantObject(who, 'settings', settings);
  const { level, cap, normalise } = settings;
  wantList(who, 'oldLogProbs', oldLogProbs);
  wantList(who, 'rolloutLogProbs', rolloutLogProbs);
  wantLength(who, 'rolloutLogProbs', rolloutLogProbs, oldLogProbs.length);
  checkTokenStarts(who, tokenStarts, oldLogProbs.length);
  const N = oldLogProbs.length;
  const weights = new Float64Array(N).fill(1);
  if (level === 'none') return weights;
  const truncated = (distance: number) => Math.min(Math.exp(Math.min(Math.max(distance, -20), 20)), cap);
  for (let b = 0; b + 1 < tokenStarts.length; b++) {
    const [from, to] = [tokenStarts[b]!, tokenStarts[b + 1]!];
    let sum = 0;
    for (let i = from; i < to; i++) {
      const distance = oldLogProbs[i]! - rolloutLogProbs[i]!;
      sum += distance;
      weights[i] = truncated(distance);
    }
    if (level === 'sequence') weights.fill(truncated(sum), from, to);
  }
  if (!normalise || N === 0) return weights;
  const mean = weights.reduce((a, b) => a + b, 0) / N;
  return weights.map((w) => w / mean);
}
