import { z } from 'zod';
import { componentsOf, componentWeights } from '../components.ts';
import { defineEstimator } from '../estimator.ts';
import { SECOND_PASS_TIES } from '../g2rpo/advantages.ts';
import { checkBatch } from '../groups.ts';
import { advantages } from './advantages.ts';

export const gaussianGdpo = defineEstimator({
  name: 'gaussian-gdpo',
  summary: 'every component of the reward by rank in its group, their sum by rank in its task',
  config: {
    componentWeights: componentWeights({ accuracy: 1, format: 1, structure: 1 }),
    tieTolerance: z.number().min(0).default(SECOND_PASS_TIES).describe('sums at most this far apart are tied'),
  },
  needs: ['components'],
  penalties: 'none',
  create: (config) => ({
    async advantages(batch) {
      const groups = checkBatch('gaussian-gdpo', batch, { finite: false });
      const { values, weights } = componentsOf('gaussian-gdpo', batch, config.componentWeights);
      return advantages(groups, batch.taskIds, values, weights, config.tieTolerance);
    },
  }),
});
