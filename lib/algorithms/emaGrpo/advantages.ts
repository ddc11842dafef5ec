import type { RewardedBatch } from '../algorithm.ts';
import { taskName, type Moments } from '../groups.ts';

/** Exponential means of a task's rewards and of their squares. */
export interface TaskMoments {
  m1: number;
  m2: number;
}

export interface EmaSettings {
  decay: number;
  minStd: number;
  epsilon: number;
  guard: number;
}

/**
 * What is remembered of every task once a batch has been seen. A task's first batch is taken as it is; tasks that are absent keep
 * what they had.
 */
export function remember(
  before: ReadonlyMap<string, TaskMoments>,
  batch: RewardedBatch,
  tasks: Moments,
  decay: number,
): Map<string, TaskMoments> {
  const after = new Map(before);
  tasks.mean.forEach((mean, s) => {
    const name = taskName(batch, batch.taskIds[tasks.first[s]!]!);
    const now = { m1: mean, m2: tasks.variance[s]! + mean * mean };
    const known = after.get(name);
    const blend = (old: number, fresh: number) => decay * old + (1 - decay) * fresh;
    after.set(name, known ? { m1: blend(known.m1, now.m1), m2: blend(known.m2, now.m2) } : now);
  });
  return after;
}

/**
 * The distance of a reward from the mean of its group, in standard deviations of its task as they have been over many batches.
 *
 *   σ_task = √max(m2 − m1², minStd²)      A = (r − μ_group) / (σ_task + ε)
 *
 * Where an advantage of a group would be beyond `guard`, the whole group takes its own standard deviation instead (over n).
 *
 * @source the released code of OneThinker; defaults are its
 */
export function advantages(
  batch: RewardedBatch,
  groups: Moments,
  remembered: ReadonlyMap<string, TaskMoments>,
  { minStd, epsilon, guard }: EmaSettings,
): Float64Array {
  const { rewards, taskIds } = batch;
  const result = new Float64Array(rewards.length);
  for (let s = 0; s + 1 < groups.starts.length; s++) {
    const rows = groups.order.subarray(groups.starts[s], groups.starts[s + 1]);
    const { m1, m2 } = remembered.get(taskName(batch, taskIds[rows[0]!]!))!;
    const deviation = Math.sqrt(Math.max(m2 - m1 * m1, minStd * minStd));
    const mean = groups.mean[s]!;
    const far = rows.some((b) => Math.abs(rewards[b]! - mean) / (deviation + epsilon) > guard);
    const scale = (far ? Math.sqrt(groups.variance[s]!) : deviation) + epsilon;
    for (const b of rows) result[b] = (rewards[b]! - mean) / scale;
  }
  return result;
}
