import { bandPenalty as ours } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const bandPenalty = defineKind<{ H: number[]; lo: number; hi: number }>({
  name: 'penalty of an entropy',
  inputs: ['H', 'lo', 'hi'],
  compute({ H, lo, hi }) {
    const each = H.map((entropy) => ours(entropy, { min: lo, max: hi }));
    return { penalty: each.map(({ penalty }) => penalty), slope: each.map(({ slope }) => slope) };
  },
});
