import { z } from 'zod';
import { defineEstimator } from '../estimator.ts';
import { singleton } from '../grpo/index.ts';
import { checkBatch, deviationOf, momentsOf, refuseSingletons } from '../groups.ts';

/**
 * Only the best rollout of a group counts: A = r_best − r_second, over σ + ε where it is normalised; all others get 0. Where several
 * share the best reward the difference is 0.
 *
 * @source verl's and EasyR1's `grpo_passk`, after arXiv:2503.19595
 */
export const passAtK = defineEstimator({
  name: 'pass-at-k',
  summary: 'only the best of the group, by its distance from the second',
  config: {
    normalise: z.boolean().default(true).describe('divide by the standard deviation of the group'),
    std: z.enum(['sample', 'population']).default('sample').describe('standard deviation over n − 1 or over n'),
    epsilon: z.number().min(0).default(1e-6).describe('added to the standard deviation'),
    singleton,
  },
  create: (config) => ({
    async advantages(batch) {
      const groups = await momentsOf(checkBatch('pass-at-k', batch, { finite: true }), batch.rewards);
      if (config.singleton === 'error') refuseSingletons('pass-at-k', groups);
      const advantages = new Float64Array(batch.rewards.length);
      for (let s = 0; s + 1 < groups.starts.length; s++) {
        let [best, second, row] = [-Infinity, -Infinity, -1];
        for (const b of groups.order.subarray(groups.starts[s], groups.starts[s + 1])) {
          const r = batch.rewards[b]!;
          if (r > best) [best, second, row] = [r, best, b];
          else second = Math.max(second, r);
        }
        if (groups.size(s) < 2 || best === second) continue;
        const scale = config.normalise ? deviationOf(groups, s, config.std) + config.epsilon : 1;
        advantages[row] = (best - second) / scale;
      }
      return advantages;
    },
  }),
});
