import { overlongPenalty as ours } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const overlongPenalty = defineKind<{ max_len: number; buffer: number; lengths: number[] }>({
  name: 'overlong penalty',
  inputs: ['max_len', 'buffer', 'lengths'],
  compute: ({ max_len, buffer, lengths }) => ({ score: lengths.map((at) => ours(at, max_len, buffer)) }),
});
