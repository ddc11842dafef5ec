import type { PromptStream } from '../data/promptStream.ts';
import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import type { RewardRunner, Scored } from '../rewards/index.ts';
import { G2rpoError } from '../runtime/errors.ts';
import { fateOf } from '../algorithms/index.ts';
import type { Prompt, Reward, SamplingProgress, ScoredRollout } from '../types.ts';
import { encodePrompts, type EncodePromptsOptions } from './encodePrompts.ts';
import { mean, type Group, type RolloutPolicy } from './group.ts';

/** How prompts are sampled and scored. */
export interface RollOutOptions extends EncodePromptsOptions {
  n: number;
  maxTokens: number;
  temperature: number;
  topP: number;
  topK: number;
  repetitionPenalty: number;
  /** the reward of a rollout with what an objective adds to it */
  shape?: (rollout: ScoredRollout) => Reward;
  /** also scores the greedy answer to every prompt */
  greedy?: boolean;
  /** the draws are a pure function of seed, batch and the place in the batch */
  seed: number;
  batch: number;
  /** number of the first group; later ones follow */
  firstGroupId: number;
}

export interface GatherOptions extends RollOutOptions {
  /** prompts wanted after filtering */
  prompts: number;
  /** prompts sampled at a time */
  batchPrompts: number;
  filter: { low: number; high: number };
  maxTries: number;
  /** is told how far it is, after each part of a draw and before the first */
  onProgress?: (progress: SamplingProgress) => void | Promise<void>;
}

/** What happened to the prompts that were drawn; counts of groups. */
export interface GatherCounts {
  drawn: number;
  kept: number;
  allRight: number;
  allWrong: number;
  /** survived, but were not needed */
  surplus: number;
  /** fewer than two rollouts could be scored */
  unscored: number;
  /** could not be encoded: too long, a broken picture */
  skipped: number;
  /** rollouts without a reward */
  failedRewards: number;
  tries: number;
  /** the same by task type */
  tasks: Record<string, Record<'allWrong' | 'allRight' | 'surplus' | 'kept', number>>;
  /** why the first of the failed rewards and of the skipped prompts failed */
  reasons: string[];
}

export interface Gathered {
  /** exactly as many as wanted */
  groups: Group[];
  /** every scored rollout, kept or not: what the metrics of rewards are taken over */
  scored: ScoredRollout[];
  counts: GatherCounts;
}

/**
 * Samples n responses to prompts of the stream, scores them, and keeps the groups that can teach something: those whose mean
 * accuracy lies strictly between the bounds. Draws again until enough are left, as many as the share kept so far suggests;
 * what is left over is discarded.
 *
 * A rollout whose reward function failed leaves its group, and a group of fewer than two leaves the batch; both are counted.
 *
 * @throws NO_PROMPTS  too few are left after `maxTries` draws; says what became of the others
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped
 * @source arXiv:2604.08539, dynamic filtering; bounds and tries of its released code
 */
export async function gatherRollouts(
  policy: RolloutPolicy,
  stream: PromptStream,
  rewards: RewardRunner,
  options: GatherOptions,
): Promise<Gathered> {
  const { prompts: wanted, filter, maxTries } = options;
  const groups: Group[] = [];
  const scored: ScoredRollout[] = [];
  const counts = noCounts();
  while (groups.length < wanted) {
    if (counts.tries === maxTries) throw tooFew(groups.length, wanted, counts);
    counts.tries++;
    const missing = wanted - groups.length;
    const share = counts.drawn === 0 ? 1 : Math.max(groups.length / counts.drawn, 0.1);
    const drawn = stream.next(Math.min(wanted, Math.ceil(missing / share)));
    const before = counts.drawn + counts.skipped;
    const tell = () =>
      options.onProgress?.({
        done: counts.drawn + counts.skipped,
        drawn: before + drawn.length,
        kept: groups.length,
        wanted,
      });
    const sort = (group: Group) => {
      scored.push(...group.rollouts);
      if (group.rollouts.length < 2) {
        counts.unscored++;
        return;
      }
      const teaches = fateOf(
        group.rollouts.map((r) => r.reward.accuracy),
        filter,
      );
      const fate = teaches === 'kept' && groups.length === wanted ? 'surplus' : teaches;
      counts[fate]++;
      (counts.tasks[group.prompt.taskType] ??= { allWrong: 0, allRight: 0, surplus: 0, kept: 0 })[fate]++;
      if (fate === 'kept') groups.push(group);
    };
    await tell();
    for (let i = 0; i < drawn.length; i += options.batchPrompts) {
      const part = drawn.slice(i, i + options.batchPrompts);
      (await rollOut(policy, rewards, part, options, counts)).forEach(sort);
      await tell();
    }
  }
  return { groups, scored, counts };
}

/** Nothing has been drawn. */
export const noCounts = (): GatherCounts => ({
  ...{ drawn: 0, kept: 0, allRight: 0, allWrong: 0, surplus: 0, unscored: 0, skipped: 0, failedRewards: 0, tries: 0 },
  tasks: {},
  reasons: [],
});

/**
 * Encodes, samples and scores prompts. Prompts that are skipped have no group; `counts` is added to, and says where the draws go on.
 *
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped
 */
export async function rollOut(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  prompts: readonly Prompt[],
  options: RollOutOptions,
  counts: GatherCounts,
): Promise<Group[]> {
  const { n, maxTokens, temperature, topP, topK, repetitionPenalty, seed, batch } = options;
  const part = await encodeAll(policy, prompts, options, counts);
  const responses = await policy.generate(
    part.map(({ encoded }) => encoded),
    {
      ...{ n, maxTokens, temperature, topP, topK, repetitionPenalty, seed, step: batch },
      rolloutOffset: counts.drawn * n,
    },
  );
  const texts = responses.map((group) =>
    group.map(({ tokens }) => policy.tokenizer.decode(tokens, { skipSpecial: true })),
  );
  const results = await rewards.score(
    part.flatMap(({ prompt }, p) =>
      texts[p]!.map((response) => ({ response, answer: prompt.answer, problemType: prompt.problemType, prompt })),
    ),
  );
  const greedyRewards = options.greedy ? await scoreGreedy(policy, rewards, part, maxTokens) : [];
  const groups = part.map(({ prompt, encoded }, p): Group => {
    const groupId = options.firstGroupId + counts.drawn + p;
    const rollouts = responses[p]!.flatMap(({ tokens, logProbs, entropy, finish }, j): ScoredRollout[] => {
      const reward = results[p * n + j]!;
      if ('failed' in reward) {
        counts.failedRewards++;
        if (counts.reasons.length < 3) counts.reasons.push(reward.failed);
        return [];
      }
      const rolloutLogProbs = Float32Array.from(logProbs);
      const sampled = { groupId, prompt, tokens, text: texts[p]![j]!, rolloutLogProbs, finish };
      const rollout = { ...sampled, entropy: mean([...entropy]), reward };
      return [{ ...rollout, reward: options.shape?.(rollout) ?? reward }];
    });
    const greedy = greedyRewards[p];
    if (greedy && 'failed' in greedy) {
      // without it the others have nothing to be compared with
      counts.failedRewards++;
      if (counts.reasons.length < 3) counts.reasons.push(greedy.failed);
      rollouts.length = 0;
    }
    return {
      ...{ groupId, prompt, encoded, rollouts },
      ...(greedy && !('failed' in greedy) && { greedyReward: greedy.overall }),
    };
  });
  counts.drawn += part.length;
  return groups;
}

/** What the greedy answers to some prompts earn, shaping left out. */
async function scoreGreedy(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  part: readonly { prompt: Prompt; encoded: EncodedPrompt }[],
  maxTokens: number,
): Promise<Scored[]> {
  const answers = await policy.generate(
    part.map(({ encoded }) => encoded),
    { n: 1, maxTokens, temperature: 0 },
  );
  return rewards.score(
    part.map(({ prompt }, p) => ({
      response: policy.tokenizer.decode(answers[p]![0]!.tokens, { skipSpecial: true }),
      ...{ answer: prompt.answer, problemType: prompt.problemType, prompt },
    })),
  );
}

/** Those that can be encoded; the others are counted. */
async function encodeAll(
  policy: RolloutPolicy,
  prompts: readonly Prompt[],
  options: RollOutOptions,
  counts: GatherCounts,
): Promise<{ prompt: Prompt; encoded: EncodedPrompt }[]> {
  const results = await encodePrompts(policy, prompts, options);
  return results.flatMap((result, i) => {
    if (result.skipped === undefined) return [{ prompt: prompts[i]!, encoded: result.encoded }];
    counts.skipped++;
    if (counts.reasons.length < 3) counts.reasons.push(result.skipped);
    return [];
  });
}

function tooFew(got: number, wanted: number, counts: GatherCounts): G2rpoError {
  const { drawn, tasks, unscored, skipped, tries, reasons } = counts;
  const why = [
    ...Object.entries(tasks).map(
      ([task, { allWrong, allRight, kept }]) => `${task} ${allWrong} all wrong, ${allRight} all right, ${kept} kept`,
    ),
    ...(unscored ? [`${unscored} without two scored rollouts`] : []),
    ...(skipped ? [`${skipped} that could not be read`] : []),
  ];
  return new G2rpoError(
    'NO_PROMPTS',
    `rollout: ${wanted} prompts that can teach were wanted; ${got} of ${drawn} were left after ${tries} tries: ${why.join('; ')}` +
      (reasons.length ? `; the first: ${reasons[0]}` : '') +
      '\nprompts teach that are answered now right, now wrong: try others, a larger rollout.n, or a wider rollout.filter',
    { ...counts, wanted },
  );
}
