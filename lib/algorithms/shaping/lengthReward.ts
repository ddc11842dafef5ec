import { z } from 'zod';
import type { Reward } from '../../types.ts';
import { CORRECT } from './proposal.ts';
import { taskBounds } from './tasks.ts';

/** Where the reward of a length begins to rise, is full, begins to fall, and ends. */
export type LengthThresholds = readonly [minStart: number, peakStart: number, peakEnd: number, maxEnd: number];

/** Thresholds in tokens, read off the curves of the paper's figures; the paper names none. */
export const LENGTH_THRESHOLDS: Readonly<Record<string, LengthThresholds>> = {
  math_reasoning: [200, 600, 1400, 3500],
  general_vqa_science_stem: [200, 700, 1600, 3500],
  chart_figure_qa: [100, 400, 1100, 3000],
  spatial_reasoning: [50, 200, 700, 2500],
  spatial_grounding: [20, 40, 120, 400],
  ocr: [10, 25, 120, 400],
  other: [50, 200, 1400, 3500],
};

const length = z.number().min(0);
export const LENGTH_GATES = ['none', 'accuracy', 'format'] as const;
export type LengthGate = (typeof LENGTH_GATES)[number];

export const lengthRewardConfig = z
  .strictObject({
    weight: z.number().min(0).max(1).default(0).describe('share of the reward; 0 is off, as in the released code'),
    unit: z.enum(['tokens', 'characters']).default('tokens').describe('characters is the released code'),
    gate: z
      .enum(LENGTH_GATES)
      .default('none')
      .describe(
        'which responses can earn it: all, those with an accuracy of at least .5, or those of the right format',
      ),
    tasks: taskBounds(
      z
        .tuple([length, length, length, length])
        .refine(
          (t) => t.every((x, i) => i === 0 || t[i - 1]! <= x),
          'must be four numbers that do not fall: where it starts, is full, starts to fall, ends',
        ),
    ).describe('thresholds by task type; those left out take ours'),
  })
  .prefault({});
export type LengthRewardConfig = z.output<typeof lengthRewardConfig>;

/**
 * What a response of a length is worth: 0 outside [minStart, maxEnd], 1 between peakStart and peakEnd, a straight line between. Where
 * two thresholds are the same the line is a step.
 *
 * @source arXiv:2604.08539, response length shaping; the formula is that of its released code
 */
export function trapezoid(at: number, [minStart, peakStart, peakEnd, maxEnd]: LengthThresholds): number {
  if (at < minStart || at > maxEnd) return 0;
  if (at < peakStart) return (at - minStart) / (peakStart - minStart);
  return at <= peakEnd ? 1 : 1 - (at - peakEnd) / (maxEnd - peakEnd);
}

/**
 * The penalty of a response that nears the limit: 0 up to maxTokens − buffer, then falling to −1 at maxTokens, and −1 beyond.
 *
 * @source arXiv:2503.14476, soft overlong punishment
 */
export function overlongPenalty(at: number, maxTokens: number, buffer: number): number {
  const free = maxTokens - buffer;
  if (at <= free) return 0;
  return at <= maxTokens ? (free - at) / buffer : -1;
}

export const overlongConfig = z
  .strictObject({
    factor: z
      .number()
      .min(0)
      .default(0)
      .describe('weight of the penalty of responses near rollout.maxTokens; 0 is off'),
    buffer: z.number().positive().default(512).describe('tokens before the limit over which it grows'),
  })
  .prefault({});
export type OverlongConfig = z.output<typeof overlongConfig>;

export const thresholdsOfTask = ({ tasks }: LengthRewardConfig, task: string): LengthThresholds =>
  tasks[task] ?? LENGTH_THRESHOLDS[task] ?? LENGTH_THRESHOLDS['other']!;

/** How long a response is, in the unit that its reward is told in. */
export const lengthOf = (
  { tokens, text }: { tokens: ArrayLike<number>; text: string },
  unit: LengthRewardConfig['unit'],
): number => (unit === 'tokens' ? tokens.length : characters(text));

/** Characters as the released code counts them: white space around tags and slashes is not counted. */
export const characters = (response: string): number => [...response.replaceAll(/\s*([<>/])\s*/g, '$1')].length;

/** The reward with the share of the length in it: overall − w·accuracy + w·R_len. */
export function withLength(
  reward: Reward,
  lengthScore: number,
  { weight, gate }: Pick<LengthRewardConfig, 'weight' | 'gate'>,
): Reward {
  if (weight === 0) return reward;
  const earned = gate === 'none' || (gate === 'format' ? reward.format === 1 : reward.accuracy >= CORRECT);
  const score = earned ? lengthScore : 0;
  return { ...reward, length: score, overall: reward.overall + weight * (score - reward.accuracy) };
}
