import type { PromptStream } from '../data/promptStream.ts';
import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import type { Generated } from '../model/qwen3vl/sampler.ts';
import type { RewardRunner } from '../rewards/index.ts';
import { G2rpoError } from '../runtime/errors.ts';
import { fateOf } from '../algorithms/index.ts';
import type { Prompt, Reward, SamplingProgress, ScoredRollout } from '../types.ts';
import { encodeInTurn, type EncodePromptsOptions } from './encodePrompts.ts';
import { answerAll } from './engine.ts';
import { mean, type Group, type RolloutPolicy } from './group.ts';

/** How prompts are sampled and scored. */
export interface RollOutOptions extends EncodePromptsOptions {
  n: number;
  maxTokens: number;
  temperature: number;
  topP: number;
  topK: number;
  repetitionPenalty: number;
  /** texts that end a response */
  stopStrings?: readonly string[];
  /** the reward of a rollout with what an objective adds to it */
  shape?: (rollout: ScoredRollout) => Reward;
  /** also scores the greedy answer to every prompt */
  greedy?: boolean;
  /** the draws are a pure function of seed, batch and the place in the batch */
  seed: number;
  batch: number;
  /** number of the first group; later ones follow */
  firstGroupId: number;
  /** prompts whose rollouts are under way at a time; the next one begins as soon as as many rollouts as it has have ended */
  batchPrompts: number;
  signal?: AbortSignal | undefined;
  /** is told of every prompt that has been answered and scored, or found unreadable, in the order in which they come to it */
  onPrompt?: (group: Group | undefined) => void | Promise<void>;
}

export interface GatherOptions extends Omit<RollOutOptions, 'onPrompt'> {
  /** prompts wanted after filtering */
  prompts: number;
  filter: { low: number; high: number };
  maxTries: number;
  /** is told how far it is: at the beginning of a draw, and after every prompt */
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
 * what is left over is discarded. Groups are looked at in the order in which they were drawn, whenever they were ready.
 *
 * A rollout whose reward function failed leaves its group, and a group of fewer than two leaves the batch; both are counted.
 *
 * @throws NO_PROMPTS  too few are left after `maxTries` draws; says what became of the others
 * @throws REWARD_FAILED  none of all that was sampled could be scored: drawing more would not help
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped
 * @throws ABORTED  by the signal; the stream has been drawn from then
 * @source arXiv:2604.08539, dynamic filtering; bounds and tries of its released code
 */
export async function gatherRollouts(
  policy: RolloutPolicy,
  stream: PromptStream,
  rewards: RewardRunner,
  options: GatherOptions,
): Promise<Gathered> {
  const { prompts: wanted, filter, maxTries, onProgress } = options;
  const groups: Group[] = [];
  const scored: ScoredRollout[] = [];
  const counts = noCounts();
  const fate = ({ rollouts }: Group) =>
    rollouts.length < 2
      ? 'unscored'
      : fateOf(
          rollouts.map((r) => r.reward.accuracy),
          filter,
        );
  while (groups.length < wanted) {
    if (counts.tries === maxTries) throw tooFew(groups.length, wanted, counts);
    counts.tries++;
    const missing = wanted - groups.length;
    const share = counts.drawn === 0 ? 1 : Math.max(groups.length / counts.drawn, 0.1);
    const drawn = stream.next(Math.min(wanted, Math.ceil(missing / share)));
    let [done, kept] = [counts.drawn + counts.skipped, groups.length];
    const all = done + drawn.length;
    const tell = () => onProgress?.({ done, drawn: all, kept: Math.min(kept, wanted), wanted });
    await tell();
    const onPrompt = (group: Group | undefined) => {
      done++;
      if (group && fate(group) === 'kept') kept++;
      return tell();
    };
    for (const group of await rollOut(policy, rewards, drawn, { ...options, onPrompt }, counts)) {
      scored.push(...group.rollouts);
      const found = fate(group);
      if (found === 'unscored') {
        counts.unscored++;
        continue;
      }
      const end = found === 'kept' && groups.length === wanted ? 'surplus' : found;
      counts[end]++;
      (counts.tasks[group.prompt.taskType] ??= { allWrong: 0, allRight: 0, surplus: 0, kept: 0 })[end]++;
      if (end === 'kept') groups.push(group);
    }
    if (scored.length === 0 && counts.failedRewards > 0) throw noneScored(counts);
  }
  return { groups, scored, counts };
}

/** Nothing has been drawn. */
export const noCounts = (): GatherCounts => ({
  ...{ drawn: 0, kept: 0, allRight: 0, allWrong: 0, surplus: 0, unscored: 0, skipped: 0, failedRewards: 0, tries: 0 },
  tasks: {},
  reasons: [],
});

/** What becomes of a prompt on its way. */
interface Asked {
  prompt: Prompt;
  encoded: EncodedPrompt;
  /** among those that could be encoded */
  place: number;
  responses?: Generated[];
  greedy?: Generated;
}

/**
 * Encodes, samples and scores prompts, each scored as soon as it has been answered. The groups are in the order of the prompts;
 * those that are skipped have none. `counts` is added to, and says where the draws go on.
 *
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped
 * @throws ABORTED  by the signal
 */
export async function rollOut(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  prompts: readonly Prompt[],
  options: RollOutOptions,
  counts: GatherCounts,
): Promise<Group[]> {
  const { n, maxTokens, temperature, topP, topK, repetitionPenalty, stopStrings } = options;
  const { seed, batch, batchPrompts, onPrompt } = options;
  const groups: { group: Group; failed: string[] }[] = [];
  const reasons: string[][] = prompts.map(() => []);
  let skipped = 0;

  async function* requests() {
    let [index, place] = [0, 0];
    for await (const result of encodeInTurn(policy, prompts, options, batchPrompts)) {
      const prompt = prompts[index]!;
      const why = reasons[index++]!;
      if (result.skipped !== undefined) {
        skipped++;
        why.push(result.skipped);
        await onPrompt?.(undefined);
        continue;
      }
      const asked: Asked = { prompt, encoded: result.encoded, place };
      const request = { prompt: result.encoded, maxTokens, ...(stopStrings && { stopStrings }), asked, why };
      yield {
        ...request,
        ...{ n, temperature, topP, topK, repetitionPenalty, seed, step: batch },
        rolloutOffset: (counts.drawn + place) * n,
        take: (responses: Generated[]) => void (asked.responses = responses),
      };
      if (options.greedy)
        yield { ...request, n: 1, temperature: 0, take: ([answer]: Generated[]) => void (asked.greedy = answer!) };
      place++;
    }
  }
  await answerAll(policy, requests(), {
    rollouts: batchPrompts * n,
    signal: options.signal,
    async onFinished({ asked, why, take }, responses) {
      take(responses);
      if (!asked.responses || (options.greedy && !asked.greedy)) return;
      const found = await scoreAnswers(policy, rewards, asked, options.firstGroupId + counts.drawn + asked.place);
      groups[asked.place] = found;
      why.push(...found.failed);
      const { rollouts } = found.group;
      for (const rollout of rollouts) rollout.reward = options.shape?.(rollout) ?? rollout.reward;
      await onPrompt?.(found.group);
    },
  });
  counts.skipped += skipped;
  counts.drawn += groups.length;
  for (const { failed } of groups) counts.failedRewards += failed.length;
  counts.reasons.push(...reasons.flat().slice(0, 3 - counts.reasons.length));
  return groups.map(({ group }) => group);
}

/** The rewards of all answers to a prompt, as a group of those that have one, and why the others have none. */
async function scoreAnswers(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  { prompt, encoded, responses = [], greedy }: Asked,
  groupId: number,
): Promise<{ group: Group; failed: string[] }> {
  const answers = [...responses, ...(greedy ? [greedy] : [])];
  const texts = answers.map(({ tokens }) => policy.tokenizer.decode(tokens, { skipSpecial: true }));
  const results = await rewards.score(
    texts.map((response) => ({ response, answer: prompt.answer, problemType: prompt.problemType, prompt })),
  );
  const failed = results.flatMap((result) => ('failed' in result ? [result.failed] : []));
  const rollouts = responses.flatMap(({ tokens, logProbs, entropy, finish }, j): ScoredRollout[] => {
    const reward = results[j]!;
    if ('failed' in reward) return [];
    const rolloutLogProbs = Float32Array.from(logProbs);
    return [{ groupId, prompt, tokens, text: texts[j]!, rolloutLogProbs, finish, entropy: mean([...entropy]), reward }];
  });
  const ofGreedy = greedy && results.at(-1)!;
  if (ofGreedy && 'failed' in ofGreedy) rollouts.length = 0; // without it the others have nothing to be compared with
  return {
    group: {
      ...{ groupId, prompt, encoded, rollouts },
      ...(ofGreedy && !('failed' in ofGreedy) && { greedyReward: ofGreedy.overall }),
    },
    failed,
  };
}

function noneScored({ failedRewards, reasons, ...counts }: GatherCounts): G2rpoError {
  return new G2rpoError(
    'REWARD_FAILED',
    `rollout: none of ${failedRewards} responses could be scored; the first: ${reasons[0]}`,
    { ...counts, failedRewards, reasons },
  );
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
