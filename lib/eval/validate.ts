import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt, Reward, ValidationReport, ValidationScore } from '../types.ts';

/** A greedy response. */
export interface Answer {
  text: string;
  tokens: number;
  finish: 'stop' | 'length';
}

/** A validation needs greedy answers and their scores; where they come from is the caller's. */
export interface Answerer {
  /** Greedy responses, or why a prompt could not be read: tells of each as it is there, by the prompt's index. */
  answer(
    prompts: readonly Prompt[],
    options: { batchPrompts: number; signal?: AbortSignal | undefined },
    onAnswer: (index: number, answer: Answer | { skipped: string }) => Promise<void>,
  ): Promise<void>;
  /** The reward of a response, or why there is none. */
  score(prompt: Prompt, response: string): Promise<Reward | { failed: string }>;
}

export interface ValidateOptions {
  /** optimizer updates before it */
  step: number;
  /** prompts answered at a time; the next one begins when one has been answered */
  batchPrompts: number;
  /** generations to show; the same prompts every time, tasks in turn */
  samples: number;
  signal?: AbortSignal | undefined;
}

/**
 * How the policy fares on held-out prompts, per task type: means of accuracy, format and overall reward, lengths of responses.
 * The macro average weighs tasks alike, however many prompts each has. Prompts that could not be read are in no mean.
 *
 * @throws NO_PROMPTS  none could be read
 * @throws REWARD_FAILED  none could be scored
 * @throws ABORTED  by the signal
 */
export async function validate(
  prompts: readonly Prompt[],
  answerer: Answerer,
  { step, batchPrompts, samples, signal }: ValidateOptions,
): Promise<ValidationReport> {
  const answers: (Scored | { skipped: string })[] = new Array(prompts.length);
  await answerer.answer(prompts, { batchPrompts, signal }, async (index, answer) => {
    const prompt = prompts[index]!;
    answers[index] =
      'skipped' in answer ? answer : { prompt, ...answer, reward: await answerer.score(prompt, answer.text) };
  });
  const byTask = new Map<string, Scored[]>();
  const skipped: string[] = [];
  for (const answer of answers) {
    if ('skipped' in answer) {
      skipped.push(answer.skipped);
      continue;
    }
    const list = byTask.get(answer.prompt.taskType);
    if (list) list.push(answer);
    else byTask.set(answer.prompt.taskType, [answer]);
  }
  if (skipped.length > 0 && byTask.size === 0)
    throw new G2rpoError(
      'NO_PROMPTS',
      `validation: prompts that can be read were wanted; none of ${prompts.length} could be; the first: ${skipped[0]}`,
      { skipped: skipped.length },
    );
  const all = [...byTask.values()].flat();
  const failures = all.flatMap(({ reward }) => (isReward(reward) ? [] : [reward.failed]));
  if (all.length > 0 && failures.length === all.length)
    throw new G2rpoError(
      'REWARD_FAILED',
      `validation: none of ${all.length} responses could be scored; the first: ${failures[0]}`,
      { failed: failures.length },
    );
  const tasks = Object.fromEntries(
    [...byTask].sort(([a], [b]) => (a < b ? -1 : 1)).map(([task, list]) => [task, scoreOf(list)]),
  );
  const metrics = { ...metricsOf(tasks), 'val/prompts_skipped': skipped.length };
  return {
    step,
    tasks,
    metrics,
    skipped,
    failures: failures.slice(0, TOLD_FAILURES),
    samples: samplesOf(byTask, samples),
  };
}

const TOLD_FAILURES = 10;

interface Scored extends Answer {
  prompt: Prompt;
  reward: Reward | { failed: string };
}

const isReward = (reward: Scored['reward']): reward is Reward => !('failed' in reward);
const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;

function scoreOf(list: readonly Scored[]): ValidationScore {
  const rewards = list.map(({ reward }) => reward).filter(isReward);
  const lengths = list.map(({ tokens }) => tokens);
  return {
    prompts: list.length,
    accuracy: mean(rewards.map((r) => r.accuracy)),
    format: mean(rewards.map((r) => r.format)),
    overall: mean(rewards.map((r) => r.overall)),
    responseLength: { mean: mean(lengths), max: lengths.reduce((a, b) => Math.max(a, b)) },
    clipRatio: mean(list.map(({ finish }) => Number(finish === 'length'))),
    failed: list.length - rewards.length,
  };
}

function metricsOf(tasks: Record<string, ValidationScore>): Record<string, number> {
  const metrics: Record<string, number> = {};
  const scores = Object.entries(tasks);
  for (const [task, score] of scores) {
    metrics[`val/${task}_accuracy_reward`] = score.accuracy;
    metrics[`val/${task}_format_reward`] = score.format;
    metrics[`val/${task}_overall_reward`] = score.overall;
    metrics[`val_${task}_response_length/mean`] = score.responseLength.mean;
    metrics[`val_${task}_response_length/max`] = score.responseLength.max;
    metrics[`val_${task}_response_length/clip_ratio`] = score.clipRatio;
  }
  const counted = scores.map(([, s]) => s.prompts - s.failed);
  const total = counted.reduce((sum, n) => sum + n, 0);
  // a task of which nothing could be scored has no mean to weigh
  metrics['val/accuracy_macro'] = mean(scores.filter((_, i) => counted[i]! > 0).map(([, s]) => s.accuracy));
  metrics['val/reward_score'] =
    scores.reduce((sum, [, s], i) => sum + (counted[i] ? s.overall * counted[i] : 0), 0) / total;
  metrics['val/failed_rewards'] = scores.reduce((sum, [, s]) => sum + s.failed, 0);
  return metrics;
}

/** The first prompts of every task, tasks in turn. */
function samplesOf(byTask: Map<string, Scored[]>, count: number): ValidationReport['samples'] {
  const samples: ValidationReport['samples'] = [];
  const longest = Math.max(0, ...[...byTask.values()].map((list) => list.length));
  for (let i = 0; i < longest; i++)
    for (const [task, list] of [...byTask].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const scored = list[i];
      if (samples.length >= count) return samples;
      if (!scored || !isReward(scored.reward)) continue;
      const { prompt, text, reward } = scored;
      samples.push({ task, problem: prompt.problem, response: text, answer: prompt.answer, reward });
    }
  return samples;
}
