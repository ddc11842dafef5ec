import type { Algorithm } from '../algorithms/index.ts';
import type { PromptStream } from '../data/promptStream.ts';
import type { Policy } from '../model/qwen3vl/policy.ts';
import type { RewardRunner } from '../rewards/index.ts';
import type { Reporter } from '../types.ts';
import type { TrainConfig } from './config.ts';
import type { Optimizer } from './optimizer.ts';
import type { RowBudget } from './rowBudget.ts';

/** What training needs of a policy; the real one, or a stand-in of a test. */
export type TrainedPolicy = Pick<Policy, 'encode' | 'submit' | 'forward' | 'forwardBackward' | 'trained' | 'save'> & {
  config: { vision: Pick<Policy['config']['vision'], 'merge'> };
  tokenizer: Pick<Policy['tokenizer'], 'decode'>;
};

/** A training run: everything it holds between steps. */
export interface Run {
  config: TrainConfig;
  policy: TrainedPolicy;
  /** the policy that training began with, frozen; loaded only for a KL term */
  reference?: Pick<Policy, 'forward' | 'dispose'>;
  algorithm: Algorithm;
  optimizer: Optimizer;
  budget: RowBudget;
  stream: PromptStream;
  rewards: RewardRunner;
  reporter: Reporter;
  /** optimizer updates, rollout batches and groups so far */
  counters: { step: number; batch: number; groups: number };
  /** ends the sampling of a rollout batch, which is begun anew when the run goes on */
  signal?: AbortSignal | undefined;
}

/** What of it an optimizer update needs. */
export type UpdateRun = Pick<Run, 'config' | 'policy' | 'algorithm' | 'optimizer' | 'budget' | 'counters'>;

/** Milliseconds since some moment; the differences are the timings of the metrics. */
export const now = (): number => performance.now();
