import { z } from 'zod';
import { G2rpoError } from '../../runtime/errors.ts';
import { defineEstimator } from '../estimator.ts';
import { singleton } from '../grpo/index.ts';
import { checkBatch, momentsOf, refuseSingletons } from '../groups.ts';
import { segments } from '../segments.ts';
import { advantages, remember, type TaskMoments } from './advantages.ts';

const stateOf = z.strictObject({ tasks: z.record(z.string(), z.strictObject({ m1: z.number(), m2: z.number() })) });

export const emaGrpo = defineEstimator({
  name: 'ema-grpo',
  summary: 'distance from the mean of the group, in standard deviations of the task over many batches',
  config: {
    decay: z.number().min(0).max(1).default(0.99).describe('of what is remembered of a task, at every batch'),
    minStd: z.number().min(0).default(1e-3).describe('smallest standard deviation of a task'),
    epsilon: z.number().min(0).default(1e-6).describe('added to the standard deviation'),
    guard: z.number().positive().default(5).describe('a group with an advantage beyond it takes its own deviation'),
    singleton,
  },
  create(config) {
    let remembered: ReadonlyMap<string, TaskMoments> = new Map();
    return {
      async advantages(batch) {
        const byGroup = checkBatch('ema-grpo', batch, { finite: true });
        const [groups, tasks] = await Promise.all([
          momentsOf(byGroup, batch.rewards),
          momentsOf(segments(batch.taskIds, byGroup.runs), batch.rewards),
        ]);
        if (config.singleton === 'error') refuseSingletons('ema-grpo', groups);
        remembered = remember(remembered, batch, tasks, config.decay); // a batch is among what it is measured by
        return advantages(batch, groups, remembered, config);
      },
      state: () => ({ tasks: Object.fromEntries(remembered) }),
      restore(state) {
        const parsed = stateOf.safeParse(state);
        if (!parsed.success)
          throw new G2rpoError(
            'INVALID_CHECKPOINT',
            `ema-grpo: the state must hold m1 and m2 for every task; got ${JSON.stringify(state)}`,
          );
        remembered = new Map(Object.entries(parsed.data.tasks));
      },
    };
  },
});
