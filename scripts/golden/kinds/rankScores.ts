import { defineKind } from '../kind.ts';
import { gaussian } from './gaussianMap.ts';

export const rankScores = defineKind<{ n: number }>({
  name: 'scores of the ranks',
  inputs: ['n'],
  compute: async ({ n }) => ({ scores: await gaussian(Array.from({ length: n }, (_, i) => i)) }),
});
