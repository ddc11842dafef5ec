import { z } from 'zod';
import { componentsOf, componentWeights } from '../components.ts';
import { defineEstimator, need } from '../estimator.ts';
import { checkBatch } from '../groups.ts';
import { advantages, GDPO_VARIANTS } from './advantages.ts';

export const gdpo = defineEstimator({
  name: 'gdpo',
  summary: 'every component of the reward normalised in its group, their sum over the batch',
  config: {
    variant: z.enum(GDPO_VARIANTS).default('sequence').describe('over what the sum is normalised'),
    componentWeights: componentWeights({ accuracy: 1, format: 1, structure: 1 }),
  },
  needs: ['components', 'tokenStarts'],
  over: ({ variant }) => (variant === 'sequence' ? 'rollouts' : 'tokens'),
  penalties: 'none',
  create: (config) => ({
    async advantages(batch) {
      const groups = checkBatch('gdpo', batch, { finite: true });
      const { values, weights } = componentsOf('gdpo', batch, config.componentWeights);
      return advantages(groups, values, weights, config.variant, () => need('gdpo', batch, 'tokenStarts'));
    },
  }),
});
