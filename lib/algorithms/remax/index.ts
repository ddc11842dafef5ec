import { defineEstimator, need } from '../estimator.ts';
import { checkBatch } from '../groups.ts';

/**
 * The distance of a reward from that of the greedy answer to the same prompt: A = r − r_greedy.
 *
 * @source arXiv:2310.10505
 */
export const remax = defineEstimator({
  name: 'remax',
  summary: 'distance from the reward of the greedy answer',
  config: {},
  needs: ['greedyRewards'],
  create: () => ({
    async advantages(batch) {
      checkBatch('remax', batch, { finite: true });
      const greedy = need('remax', batch, 'greedyRewards');
      return batch.rewards.map((r, b) => r - greedy[b]!);
    },
  }),
});
