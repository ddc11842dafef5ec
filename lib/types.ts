/** The dictionary: the nouns that every room of the house uses with one meaning. */

/** What the policy is asked: one row of a dataset. */
export interface Prompt {
  /** where it came from, for messages: file and 1-based row */
  source: { file: string; row: number };
  /** the question; one `<image>` placeholder per image, in order */
  problem: string;
  /** absolute paths, in the order of the placeholders */
  images: string[];
  /** selects the reward, and is the task key of the advantages ("math", "multiple choice", "OCR", …) */
  problemType: string;
  /** one of the six categories, or "other"; the task key of shaping and of validation */
  taskType: string;
  /** lettered choices ("A. red"), empty unless the problem type is multiple choice */
  options: string[];
  /** the ground truth, unwrapped from its answer tag */
  answer: string;
  /** every other field of the row, untouched */
  extra: Record<string, unknown>;
}

/** One sampled response with its tokens. */
export interface Rollout {
  /** rollouts of one drawn prompt share it; unique to the drawing, not to the dataset row */
  groupId: number;
  prompt: Prompt;
  /** response token ids, the stop token included when there was one */
  tokens: Int32Array;
  /** decoded response, special tokens left out */
  text: string;
  /** natural log-probability of each token under the sampling policy, at the sampling temperature */
  rolloutLogProbs: Float32Array;
  /** why it ended */
  finish: 'stop' | 'length';
}

/** The components of one rollout's reward. */
export interface Reward {
  /** what the algorithm sees: (1 − formatWeight) · accuracy + formatWeight · format */
  overall: number;
  /** [0, 1] */
  accuracy: number;
  /** 0 or 1 */
  format: number;
}

/** What a reward function is given. Text in, number out. */
export interface RewardInput {
  /** the whole response */
  response: string;
  /** the ground truth */
  answer: string;
  problemType: string;
  prompt: Prompt;
}

/** A user's reward function: an accuracy, or all components. */
export type RewardFunction = (input: RewardInput) => number | Reward | Promise<number | Reward>;
