import { klTerms, type KlKind } from '../algorithms/losses/kl.ts';
import type { Gathered } from '../rollout/gatherRollouts.ts';
import { mean } from '../rollout/group.ts';
import type { RolloutBatch } from '../rollout/packBatch.ts';
import type { ScoredRollout, TokenLoss } from '../types.ts';
import type { UpdateScores } from './scoring.ts';

/** What is known after an optimizer update. */
export interface Update {
  batch: RolloutBatch;
  /** [N] */
  advantages: Float64Array;
  oldLogProbs: Float32Array;
  /** [N] of the reference policy, where there is one */
  refLogProbs?: Float32Array;
  loss: TokenLoss;
  scores: UpdateScores;
  learningRate: number;
  gradNorm: number;
  skipped: boolean;
}

/** Metrics of one update, over the tokens of its mini-batch. */
export function updateMetrics(update: Update): Record<string, number> {
  const { batch, advantages, oldLogProbs, loss, scores, learningRate, gradNorm, skipped } = update;
  const n = oldLogProbs.length;
  const over = (f: (i: number) => number) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += f(i);
    return sum / n;
  };
  const rollouts = batch.groups.flatMap((g) => g.rollouts);
  const lengthOf = (b: number) => batch.tokenStarts[b + 1]! - batch.tokenStarts[b]!;
  const within = (b: number, f: (i: number) => number) => {
    let sum = 0;
    for (let i = batch.tokenStarts[b]!; i < batch.tokenStarts[b + 1]!; i++) sum += f(i);
    return sum;
  };
  const pull = (i: number) => Math.abs(loss.weights[i]! * advantages[i]!);
  return {
    'actor/pg_loss': n * over((i) => scores.loss[i]!),
    'actor/entropy': over((i) => scores.entropy[i]!),
    'actor/pg_clipfrac': over((i) => Number(scores.clipped[i] === 1)),
    'actor/pg_clipfrac_lower': over((i) => Number(scores.clipped[i] === 2)),
    'actor/ppo_kl': over((i) => oldLogProbs[i]! - scores.logProbs[i]!),
    ...(update.refLogProbs && klMetric(scores.logProbs, update.refLogProbs, loss.kl?.kind ?? 'k1')),
    'actor/grad_norm': gradNorm,
    'actor/lr': learningRate,
    'actor/skipped_updates': Number(skipped),
    'actor/tokens': n,
    'critic/advantages/max': greatest(advantages),
    'critic/advantages/min': least(advantages),
    ...perTask(rollouts, 'actor/entropy', (_, b) => ({
      sum: within(b, (i) => scores.entropy[i]!),
      count: lengthOf(b),
    })),
    ...perTask(
      rollouts,
      'actor/gradient_share',
      (_, b) => ({ sum: within(b, pull), count: 1 }),
      (sum) => sum / (n * over(pull) || 1),
    ),
  };
}

function klMetric(logProbs: Float32Array, refLogProbs: Float32Array, kind: KlKind): Record<string, number> {
  const { values } = klTerms(kind, logProbs, refLogProbs);
  return { 'actor/kl_loss': values.reduce((sum, v) => sum + v, 0) / values.length };
}

/**
 * Metrics of a rollout batch. Rewards and lengths are over all scored rollouts, before filtering; `critic/rewards` over those
 * that are learned from, as in EasyR1.
 */
export function rolloutMetrics({ groups, scored, counts }: Gathered): Record<string, number> {
  const lengths = scored.map(({ tokens }) => tokens.length);
  const overall = ({ reward }: ScoredRollout) => reward.overall;
  const shaped = scored.filter(({ reward }) => reward.length !== undefined);
  const kept = groups.flatMap(({ rollouts }) => rollouts.map(overall));
  const one = (value: number) => ({ sum: value, count: 1 });
  return {
    'critic/rewards/mean': mean(kept),
    'critic/rewards/max': greatest(kept),
    'critic/rewards/min': least(kept),
    'reward/overall': mean(scored.map(overall)),
    'reward/accuracy': mean(scored.map(({ reward }) => reward.accuracy)),
    'reward/format': mean(scored.map(({ reward }) => reward.format)),
    ...(shaped.length > 0 && { 'reward/length': mean(shaped.map(({ reward }) => reward.length!)) }),
    ...perTask(shaped, 'reward/length', ({ reward }) => one(reward.length!)),
    ...perTask(scored, 'reward/accuracy', ({ reward }) => one(reward.accuracy)),
    ...perTask(scored, 'response_length/mean', ({ tokens }) => one(tokens.length)),
    'response_length/mean': mean(lengths),
    'response_length/max': greatest(lengths),
    'response_length/min': least(lengths),
    'response_length/clip_ratio': mean(scored.map(({ finish }) => Number(finish === 'length'))),
    'rollout/groups_drawn': counts.drawn,
    'rollout/groups_kept': counts.kept,
    'rollout/groups_all_right': counts.allRight,
    'rollout/groups_all_wrong': counts.allWrong,
    'rollout/groups_surplus': counts.surplus,
    'rollout/groups_unscored': counts.unscored,
    'rollout/prompts_skipped': counts.skipped,
    'rollout/failed_rewards': counts.failedRewards,
    'rollout/tries': counts.tries,
    ...perTask(
      groups.map((g) => g.rollouts[0]!),
      'rollout/groups_kept',
      () => one(1),
      (sum) => sum,
    ),
  };
}

/** A batch has more rollouts than a call may have arguments. */
function greatest(values: ArrayLike<number>): number {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i]!);
  return most;
}
const least = (values: ArrayLike<number>): number => -greatest(Array.from(values, (v) => -v));

/** How far the sampler's log-probabilities are from the trainer's on the same tokens. */
export function logProbDifference(rollout: Float32Array, old: Float32Array): Record<string, number> {
  let [sum, largest] = [0, 0];
  for (let i = 0; i < old.length; i++) {
    const d = Math.abs(rollout[i]! - old[i]!);
    sum += d;
    largest = Math.max(largest, d);
  }
  return { 'rollout/log_prob_diff_mean': sum / old.length, 'rollout/log_prob_diff_max': largest };
}

/** A metric for every task type, as `name/task`. */
function perTask(
  rollouts: readonly ScoredRollout[],
  name: string,
  of: (rollout: ScoredRollout, index: number) => { sum: number; count: number },
  finish: (sum: number, count: number) => number = (sum, count) => sum / count,
): Record<string, number> {
  const totals = new Map<string, { sum: number; count: number }>();
  rollouts.forEach((rollout, i) => {
    const { sum, count } = of(rollout, i);
    const total = totals.get(rollout.prompt.taskType) ?? { sum: 0, count: 0 };
    totals.set(rollout.prompt.taskType, { sum: total.sum + sum, count: total.count + count });
  });
  return Object.fromEntries(
    [...totals]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([task, { sum, count }]) => [`${name}/${task}`, finish(sum, count)]),
  );
}
