import {
  boxIou,
  formatReward,
  intervalIou,
  keyedStructure,
  meanRelativeAccuracy,
  ocrReward,
  pointSimilarity,
  trackIou,
  wordErrorRate,
} from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

type Box = [number, number, number, number];
type Interval = [number, number];
type Point = [number, number];

const overlap = defineKind<{ a: Box | Interval; b: Box | Interval }>({
  name: 'overlap of boxes or intervals',
  inputs: ['a', 'b'],
  compute: ({ a, b }) => ({ iou: a.length === 4 ? boxIou(a, b as Box) : intervalIou(a, b as Interval) }),
});

const reading = defineKind<{ reference: string; hypothesis: string }>({
  name: 'words read',
  inputs: ['reference', 'hypothesis'],
  compute: ({ reference, hypothesis }) => ({
    wer: wordErrorRate(reference, hypothesis),
    reward: ocrReward(hypothesis, reference),
  }),
});

const regression = defineKind<{ prediction: number; target: number }>({
  name: 'mean relative accuracy',
  inputs: ['prediction', 'target'],
  compute: ({ prediction, target }) => ({ reward: meanRelativeAccuracy(prediction, target) }),
});

const points = defineKind<{ pred: Point[]; gt: Point[]; sigma: number }>({
  name: 'likeness of points',
  inputs: ['pred', 'gt', 'sigma'],
  compute: ({ pred, gt, sigma }) => ({ similarity: pointSimilarity(pred, gt, sigma) }),
});

const tracks = defineKind<{ pred: Record<string, Box>; gt: Record<string, Box> }>({
  name: 'overlap of tracks',
  inputs: ['pred', 'gt'],
  compute({ pred, gt }) {
    const [given, wanted] = [new Map(Object.entries(pred)), new Map(Object.entries(gt))];
    return {
      mean_over_gt_frames: trackIou(given, wanted),
      mean_over_common_frames: trackIou(given, wanted, 'common'),
      structure_bonus: keyedStructure(pred, gt),
    };
  },
});

const format = defineKind<{ response: string }>({
  name: 'format',
  inputs: ['response'],
  compute: ({ response }) => ({ format: formatReward(response, { think: 'thinking', answer: 'answer' }) }),
});

export const taskRewards = [overlap, reading, regression, points, tracks, format];
