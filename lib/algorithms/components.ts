import { z } from 'zod';
import type { RewardedBatch } from './algorithm.ts';
import { need } from './estimator.ts';
import { refuse } from './arguments.ts';
import { nearestName } from '../runtime/errors.ts';

/** The weight of every component of the reward, by its name. */
export const componentWeights = (defaults: Readonly<Record<string, number>>) =>
  z
    .record(z.string(), z.number())
    .refine(
      (weights) => Object.values(weights).some((weight) => weight !== 0),
      'must give a component a weight other than 0',
    )
    .default({ ...defaults })
    .describe('components of the reward that are compared apart, and their weights');

/** The components that have a weight. @throws INVALID_ARGUMENT  the batch does not have one of them */
export function componentsOf(
  name: string,
  batch: RewardedBatch,
  weights: Readonly<Record<string, number>>,
): { values: Float64Array[]; weights: number[] } {
  const components = need(name, batch, 'components');
  const chosen = Object.entries(weights);
  return {
    values: chosen.map(([key]) => {
      if (Object.hasOwn(components, key)) return components[key]!;
      const nearest = nearestName(key, Object.keys(components));
      return refuse(
        name,
        'componentWeights',
        `must name components of the reward (${Object.keys(components).join(', ')})`,
        `${key}${nearest ? `; did you mean ${nearest}?` : ''}`,
      );
    }),
    weights: chosen.map(([, weight]) => weight),
  };
}
