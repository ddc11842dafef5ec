import { lengthOf } from '../algorithms/index.ts';
import { CORRECT, ENTROPY_QUANTILES, LENGTH_QUANTILES } from '../algorithms/shaping/proposal.ts';
import { proposeBand, proposeThresholds, quantile, sorted } from '../algorithms/shaping/proposal.ts';
import type { Band } from '../algorithms/shaping/entropyBand.ts';
import type { LengthThresholds } from '../algorithms/shaping/lengthReward.ts';
import { loadDataset } from '../data/dataset.ts';
import { createPromptStream } from '../data/promptStream.ts';
import type { RewardRunner } from '../rewards/index.ts';
import { noCounts, rollOut } from '../rollout/gatherRollouts.ts';
import type { RolloutPolicy } from '../rollout/group.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt } from '../types.ts';
import { rewardsBeforehand } from './beforehand.ts';
import type { TrainConfig } from './config.ts';
import { LARGEST_COUNT } from './configTypes.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { loadPolicy } from './trainee.ts';

export interface CalibrateOptions {
  /** of every task type; all of them where a task has fewer */
  prompts: number;
  /** rollouts of a prompt; default rollout.n */
  n?: number | undefined;
  /** a task is about to be sampled */
  onTask?: ((task: string, index: number, tasks: number) => void) | undefined;
}

/** What the right answers of a task are like, and the bounds that follow. */
export interface TaskCalibration {
  task: string;
  prompts: number;
  /** that were scored */
  rollouts: number;
  correct: number;
  /** rollouts without a reward, and prompts that could not be read */
  failed: number;
  skipped: number;
  /** of the right answers, at LENGTH_SHARES and ENTROPY_SHARES; empty where there is none */
  lengths: number[];
  entropies: number[];
  /** absent where too few answers are right */
  proposal?: { thresholds: LengthThresholds; band: Band };
}

const [first, low, high, last] = LENGTH_QUANTILES;
export const LENGTH_SHARES = [first, low, 0.5, high, last];
export const ENTROPY_SHARES = [ENTROPY_QUANTILES[0], 0.5, ENTROPY_QUANTILES[1]];

/**
 * Bounds for the shaping of every task type of `data.train`, from answers that the policy of a configuration gives to some of its
 * prompts, sampled as in training: length thresholds and an entropy band in which its right answers lie. Nothing is written.
 *
 * @throws INVALID_ARGUMENT  prompts or n is not a whole number of at least 1
 * @throws REWARD_FAILED  no rollout could be scored
 * @throws INVALID_CHECKPOINT, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, INVALID_PROMPT, NO_PROMPTS, IO
 */
export async function calibrate(config: TrainConfig, options: CalibrateOptions): Promise<TaskCalibration[]> {
  checkOptions(options);
  const { prompts } = loadDataset(config.data.train, rowOptionsOf(config));
  const rewards = await rewardsBeforehand(config);
  try {
    using policy = await loadPolicy(config);
    return await calibrateWith(policy, rewards, prompts, config, options);
  } finally {
    await rewards.close();
  }
}

/** The same of a policy that is there. The draws are a pure function of the seed. @throws as `calibrate` */
export async function calibrateWith(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  prompts: readonly Prompt[],
  config: TrainConfig,
  options: CalibrateOptions,
): Promise<TaskCalibration[]> {
  checkOptions(options);
  const { seed, rollout, data, algorithm } = config;
  const counts = noCounts();
  const found: TaskCalibration[] = [];
  const tasks = [...new Set(prompts.map(({ taskType }) => taskType))].sort();
  for (const [index, task] of tasks.entries()) {
    options.onTask?.(task, index, tasks.length);
    const ofTask = prompts.filter(({ taskType }) => taskType === task);
    const drawn = createPromptStream(ofTask, { seed }).next(Math.min(options.prompts, ofTask.length));
    const { failedRewards, skipped } = counts;
    const settings = {
      ...rollout,
      ...{ n: options.n ?? rollout.n, maxPromptTokens: config.policy.maxPromptTokens, text: data },
      ...{ onBadRow: data.onBadRow, seed, batch: 0, firstGroupId: 0 },
    };
    const groups = await rollOut(policy, rewards, drawn, settings, counts);
    const rollouts = groups.flatMap((group) => group.rollouts);
    const right = rollouts.filter(({ reward }) => reward.accuracy >= CORRECT);
    const lengths = sorted(right.map((each) => lengthOf(each, algorithm.lengthReward.unit)));
    const entropies = sorted(right.map(({ entropy }) => entropy ?? Number.NaN));
    const at = (of: Float64Array) => (share: number) => quantile(of, share) ?? [];
    found.push({
      ...{ task, prompts: groups.length, rollouts: rollouts.length, correct: right.length },
      ...{ failed: counts.failedRewards - failedRewards, skipped: counts.skipped - skipped },
      lengths: LENGTH_SHARES.flatMap(at(lengths)),
      entropies: ENTROPY_SHARES.flatMap(at(entropies)),
      ...(right.length >= algorithm.calibration.minCorrect && {
        proposal: { thresholds: proposeThresholds(lengths), band: proposeBand(entropies) },
      }),
    });
  }
  if (counts.failedRewards > 0 && found.every(({ rollouts }) => rollouts === 0))
    throw new G2rpoError(
      'REWARD_FAILED',
      `calibrate: none of ${counts.failedRewards} rollouts could be scored; the first: ${counts.reasons[0]}`,
      { reasons: counts.reasons },
    );
  return found;
}

function checkOptions({ prompts, n = 1 }: CalibrateOptions): void {
  for (const [name, value] of Object.entries({ prompts, n }))
    if (!Number.isInteger(value) || value < 1 || value > LARGEST_COUNT)
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        `calibrate: ${name} must be a whole number of at least 1${value > LARGEST_COUNT ? ` and at most ${LARGEST_COUNT}` : ''}; got ${value}`,
        { argument: name, got: value },
      );
}
