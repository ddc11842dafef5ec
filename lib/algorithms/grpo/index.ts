import { z } from 'zod';
import { defineEstimator } from '../estimator.ts';
import { checkBatch, momentsOf, refuseSingletons } from '../groups.ts';
import { advantages } from './advantages.ts';

export const singleton = z
  .enum(['error', 'zero'])
  .default('error')
  .describe('what a group of one does: it is refused, or gets 0');

export const grpo = defineEstimator({
  name: 'grpo',
  summary: 'distance from the mean of the group, in its standard deviations',
  config: {
    std: z.enum(['sample', 'population']).default('sample').describe('standard deviation over n − 1 or over n'),
    epsilon: z.number().min(0).default(1e-6).describe('added to the standard deviation'),
    singleton,
  },
  create: (config) => ({
    async advantages(batch) {
      const groups = await momentsOf(checkBatch('grpo', batch, { finite: true }), batch.rewards);
      if (config.singleton === 'error') refuseSingletons('grpo', groups);
      return advantages(batch.rewards, groups, config);
    },
  }),
});
