/** What a number in metrics.jsonl says. */
export interface Metric {
  /** parts in braces stand for names: {task} for a task type */
  name: string;
  unit: string;
  meaning: string;
  /** over which samples it is taken */
  over: string;
  /** whether groups that teach nothing are in it: before or after they were filtered out; '' where that makes no difference */
  filtering: 'before' | 'after' | '';
}

const metric = (name: string, unit: string, over: string, filtering: Metric['filtering'], meaning: string): Metric => ({
  name,
  unit,
  meaning,
  over,
  filtering,
});

/** Every number that a run writes down, in groups as they are read. Names are those of EasyR1 and verl where these have one. */
export const METRICS: readonly Metric[] = [
  metric('reward/overall', '0–1', 'rollouts of the batch', 'before', 'mean of what the algorithm is given'),
  metric('reward/accuracy', '0–1', 'rollouts of the batch', 'before', 'mean accuracy of the answers'),
  metric('reward/format', '0–1', 'rollouts of the batch', 'before', 'share with the thought and answer tags as wanted'),
  metric('reward/accuracy/{task}', '0–1', 'rollouts of a task type', 'before', 'mean accuracy of the answers'),
  metric(
    'reward/length',
    '0–1',
    'rollouts of the batch',
    'before',
    'mean of what their lengths are worth, where they count',
  ),
  metric('reward/length/{task}', '0–1', 'rollouts of a task type', 'before', 'the same'),
  metric('critic/rewards/mean', '0–1', 'rollouts learned from', 'after', 'mean of what the algorithm is given'),
  metric('critic/rewards/max', '0–1', 'rollouts learned from', 'after', 'the highest reward'),
  metric('critic/rewards/min', '0–1', 'rollouts learned from', 'after', 'the lowest reward'),

  metric('response_length/mean', 'tokens', 'rollouts of the batch', 'before', 'the stop token counts'),
  metric('response_length/max', 'tokens', 'rollouts of the batch', 'before', 'the longest response'),
  metric('response_length/min', 'tokens', 'rollouts of the batch', 'before', 'the shortest response'),
  metric('response_length/clip_ratio', '0–1', 'rollouts of the batch', 'before', 'share cut at rollout.maxTokens'),
  metric('response_length/mean/{task}', 'tokens', 'rollouts of a task type', 'before', 'the stop token counts'),

  metric('rollout/groups_drawn', 'groups', 'the batch', 'before', 'prompts that were sampled, each with its rollouts'),
  metric('rollout/groups_kept', 'groups', 'the batch', 'after', 'those that are learned from'),
  metric('rollout/groups_kept/{task}', 'groups', 'the batch', 'after', 'those of a task type'),
  metric(
    'rollout/groups_all_right',
    'groups',
    'the batch',
    'before',
    'dropped: every answer was right, nothing to compare',
  ),
  metric('rollout/groups_all_wrong', 'groups', 'the batch', 'before', 'dropped: every answer was wrong'),
  metric('rollout/groups_surplus', 'groups', 'the batch', 'before', 'dropped: there were enough already'),
  metric('rollout/groups_unscored', 'groups', 'the batch', 'before', 'dropped: fewer than two rollouts have a reward'),
  metric('rollout/prompts_skipped', 'prompts', 'the batch', 'before', 'left out because they could not be read'),
  metric(
    'rollout/failed_rewards',
    'rollouts',
    'the batch',
    'before',
    'rewards that could not be had; they leave their group',
  ),
  metric('rollout/tries', 'draws', 'the batch', 'before', 'draws of prompts until enough groups were kept'),
  metric(
    'rollout/log_prob_diff_mean',
    'nats',
    'tokens learned from',
    'after',
    'mean |Δ log-probability| between sampling and training arithmetic; near 0, or the two disagree',
  ),
  metric('rollout/log_prob_diff_max', 'nats', 'tokens learned from', 'after', 'the largest of these'),

  metric(
    'actor/pg_loss',
    'nats',
    'tokens of the update',
    'after',
    'the loss whose gradient was taken, a KL term in it included',
  ),
  metric(
    'actor/entropy',
    'nats',
    'tokens of the update',
    'after',
    'mean entropy of the policy, exact, at the sampling temperature',
  ),
  metric('actor/entropy/{task}', 'nats', 'tokens of a task type', 'after', 'the same'),
  metric(
    'actor/gradient_share/{task}',
    '0–1',
    'tokens of a task type',
    'after',
    'its share of Σ |weight · advantage|: how much of the push on log-probabilities is its own',
  ),
  metric('actor/entropy_penalty', 'nats', 'tokens of the update', 'after', 'Σ over tasks of how far outside its band'),
  metric('actor/entropy_slope/{task}', '', 'tokens of a task type', 'after', '1 above its band, −1 below, 0 within'),
  metric(
    'shaping/correct/{task}',
    'rollouts',
    'the window of calibration',
    'after',
    'right answers that its bounds follow',
  ),
  metric(
    'shaping/length_min_start/{task}',
    'tokens or characters',
    'the update',
    '',
    'where a length begins to be worth something',
  ),
  metric('shaping/length_peak_start/{task}', 'tokens or characters', 'the update', '', 'where it begins to be worth 1'),
  metric('shaping/length_peak_end/{task}', 'tokens or characters', 'the update', '', 'up to where it is worth 1'),
  metric(
    'shaping/length_max_end/{task}',
    'tokens or characters',
    'the update',
    '',
    'up to where it is worth something',
  ),
  metric('shaping/entropy_min/{task}', 'nats', 'the update', '', 'lower bound of its entropy, as calibration has it'),
  metric('shaping/entropy_max/{task}', 'nats', 'the update', '', 'upper bound of its entropy, as calibration has it'),
  metric(
    'actor/kl_loss',
    'nats',
    'tokens of the update',
    'after',
    'mean KL term to the reference policy, before its weight',
  ),
  metric('actor/kl_coef', '', 'the update', '', 'weight of the KL term'),
  metric('actor/pg_clipfrac', '0–1', 'tokens of the update', 'after', 'share whose ratio was clipped'),
  metric('actor/pg_clipfrac_lower', '0–1', 'tokens of the update', 'after', 'share where the dual bound acted'),
  metric(
    'actor/ppo_kl',
    'nats',
    'tokens of the update',
    'after',
    'mean of oldLogProbs − logProbs: how far the policy has moved',
  ),
  metric('actor/grad_norm', '', 'the update', 'after', 'length of the gradient, before it is cut to maxGradNorm'),
  metric('actor/lr', '', 'the update', '', 'learning rate'),
  metric(
    'actor/skipped_updates',
    '0 or 1',
    'the update',
    '',
    '1 if the gradient was not finite and nothing was changed',
  ),
  metric('actor/tokens', 'tokens', 'the update', 'after', 'response tokens learned from'),
  metric('critic/advantages/max', '', 'rollouts of the update', 'after', 'the highest advantage'),
  metric('critic/advantages/min', '', 'rollouts of the update', 'after', 'the lowest advantage'),
  metric(
    'sft/loss',
    'nats',
    'target tokens of the update',
    '',
    'cold start: mean of −log-probability of what was demonstrated',
  ),
  metric(
    'sft/rows_skipped',
    'demonstrations',
    'the update',
    '',
    'left out because they could not be read; others took their place',
  ),

  metric('val/{task}_accuracy_reward', '0–1', 'held-out prompts of a task type', '', 'mean accuracy of greedy answers'),
  metric('val/{task}_format_reward', '0–1', 'held-out prompts of a task type', '', 'share with the tags as wanted'),
  metric('val/{task}_overall_reward', '0–1', 'held-out prompts of a task type', '', 'mean reward of greedy answers'),
  metric('val/accuracy_macro', '0–1', 'task types', '', 'mean of their accuracies, every task type weighing the same'),
  metric('val/reward_score', '0–1', 'held-out prompts', '', 'mean reward, every prompt weighing the same'),
  metric(
    'val/failed_rewards',
    'prompts',
    'held-out prompts',
    '',
    'rewards that could not be had; left out of the means',
  ),
  metric('val/prompts_skipped', 'prompts', 'held-out prompts', '', 'left out because they could not be read'),
  metric('val_{task}_response_length/mean', 'tokens', 'held-out prompts of a task type', '', 'the stop token counts'),
  metric('val_{task}_response_length/max', 'tokens', 'held-out prompts of a task type', '', 'the longest response'),
  metric(
    'val_{task}_response_length/clip_ratio',
    '0–1',
    'held-out prompts of a task type',
    '',
    'share cut at the limit',
  ),

  metric('timing_s/gen', 's', 'the batch', '', 'sampling and scoring'),
  metric('timing_s/old', 's', 'the batch', '', 'log-probabilities before the first update, and advantages'),
  metric('timing_s/update', 's', 'the update', '', 'forward, backward, optimizer'),
  metric('perf/tokens_per_s_gen', 'tokens/s', 'the batch', 'before', 'response tokens sampled'),
  metric('perf/tokens_per_s_old', 'tokens/s', 'the batch', 'after', 'response tokens scored'),
  metric('perf/tokens_per_s_update', 'tokens/s', 'the update', 'after', 'response tokens learned from'),
  metric('perf/max_memory_gb', 'GiB', 'the process', '', 'most memory it has held so far'),
  metric(
    'perf/max_memory_allocated_gb',
    'GiB',
    'the device',
    '',
    'most that tensors, caches and passes have taken of its memory so far',
  ),
];

const patterns = METRICS.map((each) => {
  const parts = each.name.split(/\{\w+\}/).map((part) => part.replaceAll(/[.*+?^$()[\]\\|]/g, '\\$&'));
  return { each, pattern: new RegExp(`^${parts.join('(.+)')}$`) };
});

/** The entry that explains a number of metrics.jsonl, or undefined if there is none. A name in full comes before a pattern. */
export const metricNamed = (name: string): Metric | undefined =>
  METRICS.find((each) => each.name === name) ?? patterns.find(({ pattern }) => pattern.test(name))?.each;
