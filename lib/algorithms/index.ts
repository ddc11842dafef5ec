import { z } from 'zod';
import type { Algorithm } from './algorithm.ts';
import { g2rpoConfig } from './g2rpo/config.ts';
import { g2rpo } from './g2rpo/index.ts';

export type { Algorithm, MiniBatch, RewardedBatch } from './algorithm.ts';
export { segments, type Segments } from './segments.ts';
export { tokenMean } from './losses/aggregation.ts';
export { g2rpo };

const CREATORS = { g2rpo };

/** The algorithm's part of a configuration; `name` says which. */
export const algorithmConfig = z.preprocess(
  (value) => {
    if (typeof value !== 'object' || value === null) return value;
    const named = { name: 'g2rpo', ...value };
    return named.name === 'gs_grpo' ? { ...named, name: 'g2rpo' } : named; // its name in the released code
  },
  z.discriminatedUnion('name', [g2rpoConfig], {
    error: ({ code }) => (code === 'invalid_union' ? `must be ${Object.keys(CREATORS).join(' or ')}` : undefined),
  }),
);
export type AlgorithmConfig = z.output<typeof algorithmConfig>;

export function createAlgorithm(config: AlgorithmConfig): Algorithm {
  return CREATORS[config.name](config);
}
