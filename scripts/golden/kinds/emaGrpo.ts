import { createEstimator, rewardedBatch } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

interface Inputs {
  decay: number;
  min_std: number;
  guard: number;
  eps: number;
  steps: { rewards: number[]; group: string[]; task: string[] }[];
}

export const emaGrpo = defineKind<Inputs>({
  name: 'ema-grpo over steps',
  inputs: ['decay', 'min_std', 'guard', 'eps', 'steps'],
  async compute({ decay, min_std, guard, eps, steps }) {
    const settings = { decay, guard, minStd: min_std, epsilon: eps, singleton: 'zero' };
    const estimator = createEstimator('ema-grpo', settings);
    const done = [];
    for (const { rewards, group, task } of steps) {
      const advantage = await estimator.advantages(rewardedBatch({ rewards, groups: group, tasks: task }));
      const { tasks } = estimator.state() as { tasks: Record<string, unknown> };
      done.push({ advantage, state: new Map(Object.entries(tasks)) });
    }
    return { steps: done };
  },
});
