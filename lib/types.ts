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

/** A video of a row: a folder of frames, or their files, as absolute paths. */
export interface PromptVideo {
  frames: string | string[];
  /** of the frames, per second */
  fps: number;
}

/** What the policy is asked: one row of a dataset. */
export interface Prompt {
  /** where it came from, for messages: file and 1-based row */
  source: { file: string; row: number };
  /** the question; one `<image>` placeholder per image and one `<video>` per video, in order */
  problem: string;
  /** absolute paths, in the order of the placeholders */
  images: string[];
  /** the same of videos; absent where there are none */
  videos?: PromptVideo[];
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
  /** mean over its tokens under the sampling policy, nats; where the engine that sampled tells it */
  entropy?: number;
  /** why it ended */
  finish: 'stop' | 'length';
}

/** What a reward consists of, the whole of it included; a component that is not asked for counts 0. */
export const REWARD_COMPONENTS = ['overall', 'accuracy', 'format', 'structure', 'length'] as const;

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
  /** [0, 1], what the length of the response is worth; present only when responses are shaped by length */
  length?: number;
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

/**
 * A loss that is separable by token, all lists [N]: what passes from the algorithm to the policy. What it must know of the
 * whole mini-batch is in its weights. Its gradient is that of
 *
 *   Σ weights·l + Σ kl.weights·kl + Σ logProbSlopes·logProbs + Σ entropySlopes·entropy
 *
 * with l and kl as the kernel `policyLoss` has them. The first two terms are the loss that the policy reports.
 */
export interface TokenLoss<Reals extends Float32Array | Float64Array = Float32Array> {
  kind: 'reinforce' | 'ppo' | 'cispo' | 'sapo';
  /** of the proximal policy: the denominator of the ratio; left out where that is the policy as it is, and every ratio 1 */
  oldLogProbs?: Reals;
  advantages: Reals;
  /** multiply each token's loss: 1 / tokens of the mini-batch for a mean over tokens */
  weights: Reals;
  /** the derivative of the loss by each token's entropy */
  entropySlopes: Reals;
  /** the derivative, by each token's log-probability, of what is not separable by token; none if left out */
  logProbSlopes?: Reals;
  /** distances of the two bounds from 1 */
  clipLow: number;
  clipHigh: number;
  /** bound on the ratio where the advantage is negative; 0 is none */
  clipDual: number;
  /** how sharply sapo's gate closes, by the sign of the advantage; 1 and 1.05 if left out */
  tau?: { positive: number; negative: number };
  /** a weighted KL term to a reference policy */
  kl?: { kind: 'k1' | 'abs' | 'k2' | 'k3' | 'k3+'; refLogProbs: Reals; weights: Reals };
}

/** A rollout with what it earned. */
export interface ScoredRollout extends Rollout {
  reward: Reward;
}

/** Numbers of one optimizer update, by the names that lib/report/dictionary.ts explains and every run's report.html. */
export interface StepReport {
  /** optimizer updates so far, this one included */
  step: number;
  metrics: Record<string, number>;
}

/** How one task fared in a validation. */
export interface ValidationScore {
  prompts: number;
  /** means over the prompts that were scored */
  accuracy: number;
  format: number;
  overall: number;
  /** tokens, the stop token included */
  responseLength: { mean: number; max: number };
  /** share of responses that were cut at the limit */
  clipRatio: number;
  /** rewards that could not be had; left out of the means */
  failed: number;
}

export interface ValidationReport {
  /** optimizer updates before it */
  step: number;
  tasks: Record<string, ValidationScore>;
  metrics: Record<string, number>;
  /** why each of the prompts that could not be read was left out, with its row */
  skipped: string[];
  /** why the first ten responses that could not be scored have no reward; the metric val/failed_rewards counts all */
  failures: string[];
  /** a few generations, the same prompts every time */
  samples: { task: string; problem: string; response: string; answer: string; reward: Reward }[];
}

/** How far the sampling of a rollout batch is, in prompts. */
export interface SamplingProgress {
  /** answered and scored, or found to be unreadable */
  done: number;
  /** drawn so far; more are drawn if too few can teach */
  drawn: number;
  /** can teach */
  kept: number;
  wanted: number;
}

/** Where a run tells of itself: files, a terminal, both. */
export interface Reporter {
  /** After every optimizer update. */
  step(report: StepReport): void | Promise<void>;
  /** After every validation. */
  validation(report: ValidationReport): void | Promise<void>;
  /** Something a person should know, as a sentence. */
  note(text: string): void | Promise<void>;
  /** While a rollout batch is sampled: at the beginning of a draw, and after every prompt that has been answered and scored. */
  sampling?(progress: SamplingProgress): void | Promise<void>;
  /** Every scored rollout of a batch, kept or not, before the update with the number `step`. */
  rollouts?(step: number, rollouts: readonly ScoredRollout[]): void | Promise<void>;
  /**
   * Called once, before anything else is reported: the run goes on behind this step, and behind the validation of the step `validated`, if that is
   * another one. Rows of later ones are no longer true and move aside; −1 means that none is.
   */
  rewind(step: number, validated?: number): void | Promise<void>;
}

/** A row of metrics.jsonl. */
export type MetricRow = { step: number } & Record<string, number | string>;

/** What one training of an ablation wrote down. */
export interface TrialRecord {
  variant: string;
  seed: number;
  /** optimizer updates in all */
  steps: number;
  rows: readonly MetricRow[];
}
