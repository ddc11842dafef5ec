import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { PROBLEM_TYPES, type ProblemType, type Reward, type RewardInput, type Tags } from '../types.ts';
import { DEFAULT_TAGS, extractAnswer, formatReward } from './format.ts';
import { mathReward } from './math.ts';
import { multipleChoiceReward } from './multipleChoice.ts';
import { numericalReward } from './numerical.ts';
import { ocrReward } from './ocr.ts';
import { regressionReward } from './regression.ts';
import { segmentationReward } from './segmentation.ts';
import { spatialGroundingReward } from './spatialGrounding.ts';
import { spatialTemporalGroundingReward } from './spatialTemporalGrounding.ts';
import { structureReward } from './structure.ts';
import { temporalGroundingReward } from './temporalGrounding.ts';
import { trackingReward } from './tracking.ts';

/** An accuracy in [0, 1] from the inside of the answer tag and the ground truth. */
type Accuracy = (prediction: string, answer: string) => number;

const ACCURACIES: Record<ProblemType, Accuracy> = {
  'multiple choice': multipleChoiceReward,
  math: mathReward,
  numerical: numericalReward,
  regression: regressionReward,
  OCR: ocrReward,
  'spatial grounding': spatialGroundingReward,
  'temporal grounding': temporalGroundingReward,
  'spatial-temporal grounding': spatialTemporalGroundingReward,
  tracking: trackingReward,
  segmentation: segmentationReward,
};

export interface RewardOptions {
  /** default `<think>` and `<answer>` */
  tags?: Tags;
  /** in [0, 1]; default 0.1, the value of the paper's release */
  formatWeight?: number;
  /** 'reference' adds up to 0.5 for a well-built answer, as the paper's release does; default 'none' */
  structureBonus?: 'none' | 'reference';
}

/**
 * The reward of one response by the function of its problem type.
 *
 *   overall = (1 − formatWeight) · accuracy + formatWeight · format  [+ structure]
 *
 * Accuracy does not wait for the format: a response without an answer tag is scored as a whole. A malformed answer has
 * accuracy 0.
 *
 * @throws INVALID_DATA  no such problem type, or a ground truth its function cannot read
 * @throws INVALID_ARGUMENT  formatWeight outside [0, 1]
 * @source arXiv:2604.08539, the reward of its release
 */
export function scoreResponse(
  input: Omit<RewardInput, 'prompt'> & Partial<RewardInput>,
  options: RewardOptions = {},
): Reward {
  const { tags = DEFAULT_TAGS, structureBonus = 'none' } = options;
  const problemType = problemTypeOf(input.problemType);
  const prediction = extractAnswer(input.response, tags);
  const answer = extractAnswer(input.answer, tags);
  const accuracy = ACCURACIES[problemType](prediction, answer);
  const format = formatReward(input.response, tags);
  const structure = structureBonus === 'none' ? undefined : structureReward(problemType, prediction, answer);
  return combine(accuracy, format, options.formatWeight, structure);
}

/**
 * The components with their weighted sum, to which the bonus for structure is added where the format is right.
 *
 * @throws INVALID_ARGUMENT  formatWeight outside [0, 1]
 */
export function combine(accuracy: number, format: number, formatWeight = 0.1, structure?: number): Reward {
  if (!(formatWeight >= 0 && formatWeight <= 1))
    throw new G2rpoError('INVALID_ARGUMENT', `rewards: formatWeight must be in [0, 1]; got ${formatWeight}`);
  const overall = (1 - formatWeight) * accuracy + formatWeight * format;
  if (structure === undefined) return { overall, accuracy, format };
  const earned = format === 1 ? structure : 0;
  return { overall: overall + earned, accuracy, format, structure: earned };
}

/**
 * Why a ground truth cannot be scored, or undefined if it can: what a dataset asks before training.
 *
 * @throws INVALID_DATA  no such problem type
 */
export function checkAnswer(problemType: string, answer: string): string | undefined {
  const accuracy = ACCURACIES[problemTypeOf(problemType)];
  try {
    accuracy('', extractAnswer(answer));
    return undefined;
  } catch (error) {
    if (error instanceof G2rpoError && error.code === 'INVALID_DATA') return error.message;
    throw error;
  }
}

/** The problem type in its own spelling, whatever the case it came in. @throws INVALID_DATA  there is none */
export function problemTypeOf(name: string): ProblemType {
  const found = PROBLEM_TYPES.find((type) => type.toLowerCase() === name.trim().toLowerCase());
  if (found) return found;
  const near = nearestName(name, PROBLEM_TYPES);
  throw new G2rpoError(
    'INVALID_DATA',
    `rewards: problem type must be one of ${PROBLEM_TYPES.join(', ')}; got ${JSON.stringify(name)}` +
      (near === undefined ? '' : `, did you mean ${JSON.stringify(near)}?`),
    { problemType: name },
  );
}
