import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import type { Policy } from '../model/qwen3vl/policy.ts';
import type { Prompt, ScoredRollout } from '../types.ts';
import type { RolloutEngine } from './engine.ts';

/** The rollouts of one drawn prompt. */
export interface Group {
  groupId: number;
  prompt: Prompt;
  encoded: EncodedPrompt;
  rollouts: ScoredRollout[];
  /** what the greedy answer earned, where it was asked for */
  greedyReward?: number;
}

/** What sampling and scoring need of a policy; the real one, or a stand-in of a test. */
export type RolloutPolicy = RolloutEngine & Pick<Policy, 'encode'> & { tokenizer: Pick<Policy['tokenizer'], 'decode'> };

export const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;
