import type { TokenLoss } from '../types.ts';

/** What the comparison of rollouts may know: B rollouts, each with a number and three labels. */
export interface RewardedBatch {
  /** [B] */
  rewards: Float64Array;
  /** [B] equal for rollouts of one prompt; they need not stand next to each other */
  groupIds: Int32Array;
  /** [B] equal for prompts of one problem type */
  taskIds: Int32Array;
}

/** What a loss may know: the mini-batch of one optimizer update, B rollouts with N tokens. */
export interface MiniBatch extends RewardedBatch {
  /** [B] equal for prompts of one task type */
  shapingTaskIds: Int32Array;
  /** [B+1] where each rollout's tokens begin in lists [N] */
  tokenStarts: Int32Array;
  /** [B] */
  advantages: Float64Array;
  /** [N] */
  oldLogProbs: Float32Array;
}

/** An objective: who did better, and what the policy should do about it. */
export interface Algorithm {
  readonly name: string;
  /** One number per rollout, over the whole rollout batch. @throws NON_FINITE  a reward is NaN */
  advantages(batch: RewardedBatch): Promise<Float64Array>;
  /**
   * The loss of a mini-batch, lists [N]; micro-batches take their tokens from it, so that how they are cut changes nothing.
   *
   * @param entropies  asks the policy, as it is now, for the entropy of every token [N]; costs a forward pass
   */
  prepare(mini: MiniBatch, entropies: () => Promise<Float32Array>): Promise<TokenLoss>;
  /** What it remembers between batches, as JSON. */
  state(): unknown;
  /** @throws INVALID_CHECKPOINT  the state is not its own */
  restore(state: unknown): void;
}
