/** The dictionary: the nouns that every room of the house uses with one meaning. */

/** Every problem type with a reward of ours. Rows may spell them in any case. */
export const PROBLEM_TYPES = [
  'multiple choice',
  'math',
  'numerical',
  'regression',
  'OCR',
  'spatial grounding',
  'temporal grounding',
  'spatial-temporal grounding',
  'tracking',
  'segmentation',
] as const;
export type ProblemType = (typeof PROBLEM_TYPES)[number];

/** The six categories that shaping and validation tell apart; everything else is "other". */
export const TASK_TYPES = [
  'spatial_grounding',
  'spatial_reasoning',
  'general_vqa_science_stem',
  'math_reasoning',
  'chart_figure_qa',
  'ocr',
] as const;

/** The names of the two tags around thinking and answer, without angle brackets. */
export interface Tags {
  think: string;
  answer: string;
}

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
  /** [0, 0.5], part of `overall`; present only when the structure bonus is switched on */
  structure?: number;
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
