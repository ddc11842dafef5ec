export { DEFAULT_TAGS, extractAnswer, formatReward } from './format.ts';
export { checkAnswer, combine, problemTypeOf, scoreResponse, type RewardOptions } from './scoreResponse.ts';
export { createRewardRunner, type RewardRunner, type RewardRunnerOptions, type Scored } from './user.ts';
