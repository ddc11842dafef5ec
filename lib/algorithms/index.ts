import { z } from 'zod';
import type { Algorithm } from './algorithm.ts';
import { g2rpoConfig } from './g2rpo/config.ts';
import { g2rpo } from './g2rpo/index.ts';

export type { Algorithm, MiniBatch, RewardedBatch } from './algorithm.ts';
export { segments, type Segments } from './segments.ts';
export { tokenMean } from './losses/aggregation.ts';
export { g2rpo };

/** The algorithm's part of a configuration; `name` says which. */
export const algorithmConfig = z.preprocess(
  (value) => (typeof value === 'object' && value !== null ? { name: 'g2rpo', ...value } : value),
  z.discriminatedUnion('name', [g2rpoConfig]),
);
export type AlgorithmConfig = z.output<typeof algorithmConfig>;

export function createAlgorithm(config: AlgorithmConfig): Algorithm {
  return { g2rpo }[config.name](config);
}
