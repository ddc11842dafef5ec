import { fateOf } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const filtering = defineKind<{ accuracy: number[][]; low: number; high: number }>({
  name: 'dynamic filter',
  inputs: ['accuracy', 'low', 'high'],
  compute: ({ accuracy, low, high }) => ({
    kept: accuracy.flatMap((group, i) => (fateOf(group, { low, high }) === 'kept' ? [i] : [])),
  }),
});
