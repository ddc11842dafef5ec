import { advantages } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';
import { maskOf, padded } from '../padded.ts';

interface Inputs {
  components: number[][];
  weights: number[];
  group: string[];
  lengths: number[];
  T: number;
}

/** Components and their weights by names, which files do not give them. */
export const named = <V>(values: readonly V[]): Record<string, V> =>
  Object.fromEntries(values.map((value, k) => [`component ${k}`, value]));

export const gdpo = defineKind<Inputs>({
  name: 'gdpo',
  inputs: ['components', 'weights', 'group', 'lengths', 'T'],
  async compute({ components, weights, group, lengths, T }) {
    const mask = maskOf(lengths, T);
    const batch = { rewards: group.map(() => 0), groups: group, lengths, components: named(components) };
    const by = (variant: string) => advantages('gdpo', batch, { variant, componentWeights: named(weights) });
    return {
      sequence_level: await by('sequence'),
      token_level_verl: padded(await by('token_verl'), mask, 0),
      token_level_population: padded(await by('token_population'), mask, 0),
    };
  },
});
