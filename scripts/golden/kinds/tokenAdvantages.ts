import { advantages, returnsToGo } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';
import { maskOf, padded, tokenStarts } from '../padded.ts';

interface Inputs {
  rewards: number[];
  group: string[];
  lengths: number[];
  T: number;
  gamma: number;
}

export const tokenAdvantages = defineKind<Inputs>({
  name: 'advantages over tokens',
  inputs: ['rewards', 'group', 'lengths', 'T', 'gamma'],
  async compute({ rewards, group, lengths, T, gamma }) {
    const mask = maskOf(lengths, T);
    const batch = { rewards, groups: group, lengths };
    const baseline = await advantages('reinforce++-baseline', batch, { singleton: 'zero' });
    return {
      reinforce_pp_returns: padded(returnsToGo(Float64Array.from(rewards), tokenStarts(mask), gamma), mask, 0),
      reinforce_pp_adv: padded(await advantages('reinforce++', batch, { gamma }), mask, 0),
      reinforce_pp_baseline_adv: padded(baseline, mask, 0),
    };
  },
});
