import { defineEstimator } from '../estimator.ts';
import { singleton } from '../grpo/index.ts';
import { checkBatch, momentsOf, refuseSingletons } from '../groups.ts';

/**
 * The distance of a reward from the mean of the others of its group: A = r − mean of the other n − 1 = n/(n − 1)·(r − μ_group).
 * A rollout that is alone gets 0 where it is not refused.
 *
 * @source arXiv:2402.14740
 */
export const rloo = defineEstimator({
  name: 'rloo',
  summary: 'distance from the mean of the others of the group',
  config: { singleton },
  create: (config) => ({
    async advantages(batch) {
      const groups = await momentsOf(checkBatch('rloo', batch, { finite: true }), batch.rewards);
      if (config.singleton === 'error') refuseSingletons('rloo', groups);
      return batch.rewards.map((r, b) => {
        const s = groups.segmentOf[b]!;
        const n = groups.size(s);
        return n === 1 ? 0 : (n / (n - 1)) * (r - groups.mean[s]!);
      });
    },
  }),
});
