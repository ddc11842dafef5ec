import { z } from 'zod';
import type { TokenLoss } from '../../types.ts';
import type { MiniBatch } from '../algorithm.ts';
import { perToken, tokenMean } from './aggregation.ts';

/** How far the ratio may go. The paper names no values; these are the defaults of EasyR1, on which its release is built. */
export const clipRangeConfig = z
  .strictObject({
    low: z.number().min(0).max(1).default(0.2).describe('the ratio stops mattering below 1 − low'),
    high: z.number().min(0).default(0.3).describe('the ratio stops mattering above 1 + high'),
    dual: z
      .number()
      .refine((bound) => bound === 0 || bound > 1, 'must be 0 or above 1')
      .default(3)
      .describe('largest ratio that counts where the advantage is negative; 0 is none'),
  })
  .prefault({});

export type ClipRange = z.output<typeof clipRangeConfig>;

/** The clipped policy-gradient loss, a mean over all tokens of the mini-batch; its arithmetic is the kernel `policyLoss`. */
export function ppo({ advantages, oldLogProbs, tokenStarts }: MiniBatch, clip: ClipRange): TokenLoss {
  return {
    kind: 'ppo',
    oldLogProbs,
    advantages: perToken(advantages, tokenStarts),
    weights: tokenMean(tokenStarts),
    entropySlopes: new Float32Array(oldLogProbs.length),
    clipLow: clip.low,
    clipHigh: clip.high,
    clipDual: clip.dual,
  };
}
