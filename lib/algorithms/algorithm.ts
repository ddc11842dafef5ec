import type { Reward, ScoredRollout, TokenLoss } from '../types.ts';

/** What the comparison of rollouts may know: B rollouts, each with numbers and labels. Rows of a group need not be neighbours. */
export interface RewardedBatch {
  /** [B] */
  rewards: Float64Array;
  /** [B] equal for rollouts of one prompt */
  groupIds: Int32Array;
  /** [B] equal for prompts of one task, as advantages tell tasks apart: the problem type */
  taskIds: Int32Array;
  /** what each task id stands for; what is remembered of a task is kept under it. Default: the number itself */
  taskNames?: readonly string[];
  /** [B+1] where each rollout's tokens begin in lists [N]; for estimators that look at tokens */
  tokenStarts?: Int32Array;
  /** [B] each; for estimators that compare the parts of a reward apart from each other */
  components?: Readonly<Record<string, Float64Array>>;
  /** [B] the reward of the greedy answer to the same prompt; for ReMax */
  greedyRewards?: Float64Array;
  /** [N] subtracted from the reward of each token: the KL term, where it belongs to the reward */
  tokenPenalties?: Float64Array;
}

/** What a loss may know: the mini-batch of one optimizer update, B rollouts with N tokens. */
export interface MiniBatch {
  /** [B] equal for prompts of one task type, as shaping tells tasks apart */
  shapingTaskIds: Int32Array;
  /** what each of these ids stands for */
  shapingTaskNames: readonly string[];
  /** [B+1] where each rollout's tokens begin in lists [N] */
  tokenStarts: Int32Array;
  /** [N] what the loss multiplies; an estimator that compares rollouts gives all tokens of a rollout the same */
  advantages: Float64Array;
  /** [N] of the proximal policy; left out where that is the policy as it is now */
  oldLogProbs?: Float32Array;
  /** [N] as reported by the engine that sampled; for the correction of its arithmetic */
  rolloutLogProbs?: Float32Array;
  /** [N] of the frozen reference policy; for a KL term in the loss */
  refLogProbs?: Float32Array;
}

/** What bounds of the shaping may follow: B rollouts that have been learned from. */
export interface ObservedBatch {
  /** [B] the task type of each */
  tasks: readonly string[];
  /** [B] in the unit of the length reward */
  lengths: ArrayLike<number>;
  /** [B] */
  accuracies: ArrayLike<number>;
  /** [B] mean over the tokens of each, under the policy that sampled it; nats */
  entropies: ArrayLike<number>;
}

/** What the policy, as it is now, says of every token of a mini-batch. */
export interface CurrentScores {
  /** [N] */
  logProbs: Float32Array;
  /** [N] nats */
  entropy: Float32Array;
}

/** A loss, and what there is to tell of it. */
export interface PreparedLoss {
  loss: TokenLoss;
  metrics: Record<string, number>;
}

/** How rollouts are compared: one number for each. */
export interface Estimator {
  readonly name: string;
  /** what it needs of a batch beside rewards and labels */
  readonly needs: readonly ('tokenStarts' | 'components' | 'greedyRewards')[];
  /** whether it gives a number to every rollout, or to every token */
  readonly over: 'rollouts' | 'tokens';
  /** whether it takes `tokenPenalties` off by itself, or has to be given rewards that are less by their sums */
  readonly penalties: 'own' | 'summed' | 'none';
  /**
   * [B], or [N] where it tells the tokens of a rollout apart.
   *
   * @throws NON_FINITE  a reward is NaN, or infinite where means are taken
   * @throws INVALID_ARGUMENT  a group of one has nothing to be compared with; a group crosses tasks
   */
  advantages(batch: RewardedBatch): Promise<Float64Array>;
  /** What it remembers between batches, as JSON. */
  state(): unknown;
  /** @throws INVALID_CHECKPOINT  the state is not its own */
  restore(state: unknown): void;
}

/** An objective: who did better, and what the policy should do about it. */
export interface Algorithm {
  readonly name: string;
  /** what has to be had for it beside the rollouts themselves */
  readonly needs: {
    /** log-probabilities of a frozen reference policy, for its KL term */
    reference: boolean;
    /** log-probabilities and entropies before the update, also where a rollout batch is one update and the ratio is 1 */
    scores: boolean;
    /** the reward of a greedy answer to every prompt */
    greedy: boolean;
  };
  /** The reward with its shaping by length. */
  shape(rollout: ScoredRollout, limits: { maxTokens: number }): Reward;
  /**
   * [N] what the loss multiplies, for every token, over the whole rollout batch; with the KL term taken off the rewards where it
   * belongs to them.
   *
   * @throws as the estimator
   */
  advantages(
    batch: RewardedBatch & { tokenStarts: Int32Array; oldLogProbs?: Float32Array; refLogProbs?: Float32Array },
  ): Promise<Float64Array>;
  /**
   * The loss of a mini-batch, lists [N]; micro-batches take their tokens from it, so that how they are cut changes nothing.
   *
   * @param scores  asks the policy, as it is now, about every token; may cost a forward pass
   */
  prepare(mini: MiniBatch, scores: () => Promise<CurrentScores>): Promise<PreparedLoss>;
  /** Told of every rollout batch once it has been learned from: bounds of the shaping may follow it. */
  observe(batch: ObservedBatch): void;
  /** What it remembers between batches, as JSON. */
  state(): unknown;
  /** @throws INVALID_CHECKPOINT  the state is not its own */
  restore(state: unknown): void;
}
