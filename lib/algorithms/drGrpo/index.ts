import { defineEstimator } from '../estimator.ts';
import { singleton } from '../grpo/index.ts';
import { checkBatch, momentsOf, refuseSingletons } from '../groups.ts';

/**
 * The distance of a reward from the mean of its group: A = r − μ_group. Its loss is a sum over tokens divided by a constant
 * (`seq-mean-token-sum-norm`).
 *
 * @source arXiv:2503.20783
 */
export const drGrpo = defineEstimator({
  name: 'dr-grpo',
  summary: 'distance from the mean of the group',
  config: { singleton },
  create: (config) => ({
    async advantages(batch) {
      const groups = await momentsOf(checkBatch('dr-grpo', batch, { finite: true }), batch.rewards);
      if (config.singleton === 'error') refuseSingletons('dr-grpo', groups);
      return batch.rewards.map((r, b) => r - groups.mean[groups.segmentOf[b]!]!);
    },
  }),
});
