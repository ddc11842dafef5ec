import { lengthReward as ours } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const lengthReward = defineKind<{ thresholds: [number, number, number, number]; lengths: number[] }>({
  name: 'length reward',
  inputs: ['thresholds', 'lengths'],
  compute: ({ thresholds, lengths }) => ({ score: ours(lengths, thresholds) }),
});
