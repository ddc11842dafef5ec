import { z } from 'zod';
import { defineEstimator } from '../estimator.ts';
import { checkBatch } from '../groups.ts';
import { ADVANTAGE_MODES, advantages, SECOND_PASS_TIES } from './advantages.ts';

export const g2rpo = defineEstimator({
  name: 'g2rpo',
  summary: 'ranks on the quantiles of N(0, 1), by group and then by task',
  config: {
    mode: z
      .enum(ADVANTAGE_MODES)
      .default('group_then_task')
      .describe(
        'over which rollouts the ranks are taken; the default is that of the released code, task the formula of the paper',
      ),
    tieTolerance: z
      .number()
      .min(0)
      .default(SECOND_PASS_TIES)
      .describe('quantiles of the first pass at most this far apart are tied in the second; 0 is the released code'),
  },
  create: (config) => ({
    async advantages(batch) {
      return advantages(batch, checkBatch('g2rpo', batch, { finite: false }), config);
    },
  }),
});
