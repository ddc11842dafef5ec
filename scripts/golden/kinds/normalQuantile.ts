import { normalQuantile as kernel } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const normalQuantile = defineKind<{ p: number[] }>({
  name: 'normal quantile',
  inputs: ['p'],
  compute: async ({ p }) => ({ z: await kernel({ p: Float64Array.from(p) }).quantiles.read() }),
});
