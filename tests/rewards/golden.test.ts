import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatReward } from '../../lib/rewards/format.ts';
import { ocrReward, wordErrorRate } from '../../lib/rewards/ocr.ts';
import { meanRelativeAccuracy } from '../../lib/rewards/regression.ts';
import { pointSimilarity } from '../../lib/rewards/segmentation.ts';
import { boxIou } from '../../lib/rewards/spatialGrounding.ts';
import { keyedStructure } from '../../lib/rewards/structure.ts';
import { intervalIou } from '../../lib/rewards/temporalGrounding.ts';
import { trackIou } from '../../lib/rewards/tracking.ts';

interface Case {
  name: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- every kind of case has its own inputs
  inputs: any;
  expected: Record<string, number>;
  tolerance: { rtol: number; atol: number };
}

const cases = JSON.parse(
  readFileSync(new URL('../golden/algorithms/task_rewards.json', import.meta.url), 'utf8'),
) as Case[];

const compute: Record<string, (inputs: Case['inputs']) => Record<string, number>> = {
  iou2d: ({ a, b }) => ({ iou: boxIou(a, b) }),
  tiou: ({ a, b }) => ({ iou: intervalIou(a, b) }),
  ocr: ({ reference, hypothesis }) => ({
    wer: wordErrorRate(reference, hypothesis),
    reward: ocrReward(hypothesis, reference),
  }),
  mra: ({ prediction, target }) => ({ reward: meanRelativeAccuracy(prediction, target) }),
  points: ({ pred, gt, sigma }) => ({ similarity: pointSimilarity(pred, gt, sigma) }),
  track: ({ pred, gt }) => {
    const [prediction, target] = [new Map(Object.entries(pred)), new Map(Object.entries(gt))] as never[];
    return {
      mean_over_gt_frames: trackIou(prediction!, target!),
      mean_over_common_frames: trackIou(prediction!, target!, 'common'),
      structure_bonus: keyedStructure(pred, gt),
    };
  },
  format: ({ response }) => ({ format: formatReward(response, { think: 'thinking', answer: 'answer' }) }),
};

describe('golden task rewards', () => {
  it('has all its cases', () => expect(cases).toHaveLength(53));

  it.each(cases.map((c) => [c.name, c] as const))('%s', (name, { inputs, expected, tolerance }) => {
    const kind = /\/([a-z0-9]+)_/.exec(name)![1]!;
    const got = compute[kind]!(inputs);
    expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
    for (const [key, value] of Object.entries(expected))
      expect(Math.abs(got[key]! - value)).toBeLessThanOrEqual(tolerance.atol + tolerance.rtol * Math.abs(value));
  });
});
