import { z } from 'zod';
import { clipRangeConfig } from '../losses/ppo.ts';

export const ADVANTAGE_MODES = ['group_then_task', 'task', 'group'] as const;

export const g2rpoConfig = z.strictObject({
  name: z.literal('g2rpo').default('g2rpo'),
  advantages: z
    .enum(ADVANTAGE_MODES)
    .default('group_then_task')
    .describe(
      'over which rollouts the ranks are taken; the default is that of the released code, task the formula of the paper',
    ),
  clipRange: clipRangeConfig,
});

export type G2rpoConfig = z.output<typeof g2rpoConfig>;
