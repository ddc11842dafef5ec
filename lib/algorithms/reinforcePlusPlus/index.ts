import { z } from 'zod';
import { defineEstimator, need } from '../estimator.ts';
import { singleton } from '../grpo/index.ts';
import { checkBatch, momentsOf, refuseSingletons } from '../groups.ts';
import { advantages, baselineAdvantages, returnsToGo } from './advantages.ts';

export const reinforcePlusPlus = defineEstimator({
  name: 'reinforce++',
  summary: 'returns of every token, whitened over all tokens of the batch',
  config: { gamma: z.number().min(0).max(1).default(1).describe('discount by token') },
  needs: ['tokenStarts'],
  over: 'tokens',
  penalties: 'own',
  alike: { gamma: 1 },
  create: ({ gamma }) => ({
    async advantages(batch) {
      checkBatch('reinforce++', batch, { finite: true });
      const tokenStarts = need('reinforce++', batch, 'tokenStarts');
      return advantages(returnsToGo(batch.rewards, tokenStarts, gamma, batch.tokenPenalties));
    },
  }),
});

export const reinforcePlusPlusBaseline = defineEstimator({
  name: 'reinforce++-baseline',
  summary: 'distance from the mean of the group, whitened over all tokens of the batch',
  config: { singleton },
  needs: ['tokenStarts'],
  over: 'tokens',
  create: (config) => ({
    async advantages(batch) {
      const groups = await momentsOf(checkBatch('reinforce++-baseline', batch, { finite: true }), batch.rewards);
      const tokenStarts = need('reinforce++-baseline', batch, 'tokenStarts');
      if (config.singleton === 'error') refuseSingletons('reinforce++-baseline', groups);
      return baselineAdvantages(batch.rewards, groups, tokenStarts);
    },
  }),
});
