import type { DatasetOptions } from '../data/dataset.ts';
import { checkAnswer, createRewardRunner, type RewardRunner } from '../rewards/index.ts';
import type { TrainConfig } from './config.ts';

/** The rewards of a run look for the tags that its prompts ask for. @throws INVALID_CONFIG  the module of rewards cannot be loaded */
export const rewardRunnerOf = ({
  rewards,
  data,
}: Pick<TrainConfig, 'rewards'> & { data: Pick<TrainConfig['data'], 'tags'> }): Promise<RewardRunner> =>
  createRewardRunner({ ...rewards, tags: data.tags });

/** How rows are read: a reward of the user's own may know other problem types and answers. */
export function rowOptionsOf(config: { data: DatasetOptions; rewards: { file?: string | undefined } }): DatasetOptions {
  const own = config.rewards.file !== undefined;
  return { ...config.data, ...(own ? { problemTypes: 'any' as const } : { checkAnswer }) };
}
