import { z } from 'zod';
import { AGGREGATIONS } from './aggregation.ts';
import { klConfig } from './kl.ts';
import { rolloutCorrectionConfig } from './rolloutCorrection.ts';

export const LOSSES = ['ppo', 'gspo', 'gspo-token', 'cispo', 'sapo', 'reinforce'] as const;
export type LossName = (typeof LOSSES)[number];

/** How far the ratio may go where a configuration does not say. */
export const CLIP_RANGES: Record<LossName, { low: number; high: number; dual: number }> = {
  ppo: { low: 0.2, high: 0.3, dual: 3 }, // EasyR1, on which the paper's release is built
  gspo: { low: 3e-4, high: 4e-4, dual: 0 }, // arXiv:2507.18071
  'gspo-token': { low: 3e-4, high: 4e-4, dual: 0 },
  cispo: { low: 1, high: 4, dual: 0 }, // verl: no lower bound, 1 + 4 above
  sapo: { low: 1, high: Infinity, dual: 0 }, // reads none
  reinforce: { low: 1, high: Infinity, dual: 0 }, // reads none
};

/** The part of a configuration that says how advantages become a loss. */
export const lossConfig = {
  loss: z.enum(LOSSES).default('ppo').describe('the policy loss; ppo is that of the paper'),
  clipRange: z
    .strictObject({
      low: z.number().min(0).max(1).exactOptional().describe('the ratio stops mattering below 1 − low'),
      high: z.number().min(0).exactOptional().describe('the ratio stops mattering above 1 + high'),
      dual: z
        .number()
        .refine((bound) => bound === 0 || bound > 1, 'must be 0 or above 1')
        .exactOptional()
        .describe('largest ratio that counts where the advantage is negative; 0 is none'),
    })
    .prefault({})
    .describe('defaults depend on the loss: ppo .2/.3/3, gspo 3e-4/4e-4/none, cispo none below/4'),
  tau: z
    .strictObject({
      positive: z.number().positive().default(1).describe('of advantages above or at 0'),
      negative: z.number().positive().default(1.05).describe('of advantages below 0'),
    })
    .prefault({})
    .describe('how sharply sapo falls off; other losses have none'),
  aggregation: z.enum(AGGREGATIONS).default('token-mean').describe('how tokens add up to the loss'),
  lengthNormaliser: z
    .number()
    .positive()
    .exactOptional()
    .describe('constant of seq-mean-token-sum-norm; default rollout.maxTokens'),
  divideByRows: z.boolean().default(false).describe('seq-mean-token-sum-norm: divide by the responses too'),
  kl: klConfig,
  rolloutCorrection: rolloutCorrectionConfig,
};
export type LossConfig = z.output<z.ZodObject<typeof lossConfig>>;
