import { advantages } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

/** Values by rank on the quantiles of N(0, 1): one group, compared within itself. */
export const gaussian = (values: readonly number[]): Promise<Float64Array> =>
  advantages('g2rpo', { rewards: values, groups: values.map(() => 0) }, { mode: 'group' });

export const gaussianMap = defineKind<{ values: number[] }>({
  name: 'gaussian map',
  inputs: ['values'],
  compute: async ({ values }) => ({ scores: await gaussian(values) }),
});
