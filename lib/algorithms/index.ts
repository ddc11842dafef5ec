import { z } from 'zod';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import type { Algorithm, Estimator } from './algorithm.ts';
import { describe } from './arguments.ts';
import { combinationProblems } from './combination.ts';
import { drGrpo } from './drGrpo/index.ts';
import { emaGrpo } from './emaGrpo/index.ts';
import type { EstimatorChoice } from './estimator.ts';
import { g2rpo } from './g2rpo/index.ts';
import { gaussianGdpo } from './gaussianGdpo/index.ts';
import { gdpo } from './gdpo/index.ts';
import { grpo } from './grpo/index.ts';
import { CLIP_RANGES, LOSSES } from './losses/config.ts';
import { createObjective, objectiveConfig, type ObjectiveConfig } from './objective.ts';
import { passAtK } from './passAtK/index.ts';
import { reinforcePlusPlus, reinforcePlusPlusBaseline } from './reinforcePlusPlus/index.ts';
import { remax } from './remax/index.ts';
import { rloo } from './rloo/index.ts';

export type {
  Algorithm,
  CurrentScores,
  Estimator,
  MiniBatch,
  ObservedBatch,
  PreparedLoss,
  RewardedBatch,
} from './algorithm.ts';
export type { EstimatorChoice } from './estimator.ts';
export { segments } from './segments.ts';
export { fateOf } from './shaping/dynamicFilter.ts';
export { lengthOf } from './shaping/lengthReward.ts';

const DEFINITIONS = [
  ...[g2rpo, gaussianGdpo, grpo, drGrpo, emaGrpo, gdpo],
  ...[rloo, reinforcePlusPlus, reinforcePlusPlusBaseline, remax, passAtK],
] as const;

/** Every way to compare rollouts, by name. */
export const ESTIMATORS: ReadonlyMap<string, EstimatorChoice> = new Map(DEFINITIONS.map((each) => [each.name, each]));

/** What other systems call them. */
export const ESTIMATOR_ALIASES: Readonly<Record<string, string>> = {
  gs_grpo: 'g2rpo',
  gs_gdpo: 'gaussian-gdpo',
  drgrpo: 'dr-grpo',
  dr_grpo: 'dr-grpo',
  ema_grpo: 'ema-grpo',
  reinforce_plus_plus: 'reinforce++',
  reinforce_plus_plus_baseline: 'reinforce++-baseline',
  grpo_passk: 'pass-at-k',
};

const ownName = (name: string): string =>
  typeof name === 'string' && Object.hasOwn(ESTIMATOR_ALIASES, name) ? ESTIMATOR_ALIASES[name]! : name;

/** The estimator of a name, in our spelling or another system's. @throws INVALID_ARGUMENT  there is none, with the nearest */
export function estimatorNamed(name: string): EstimatorChoice {
  const found = ESTIMATORS.get(ownName(name));
  if (found) return found;
  const names = [...ESTIMATORS.keys()];
  const given = typeof name === 'string' ? name : describe(name);
  const nearest = nearestName(given, names);
  throw new G2rpoError(
    'INVALID_ARGUMENT',
    `estimator must be one of ${names.join(', ')}; got ${given}${nearest ? `; did you mean ${nearest}?` : ''}`,
    { argument: 'estimator', wanted: names, got: given, nearest },
  );
}

/**
 * A way to compare rollouts that remembers what it has to between batches.
 *
 * @param settings  keys of the estimator, as in a configuration
 * @throws INVALID_ARGUMENT  there is no such estimator (with the nearest), or a setting is out of its domain
 */
export const createEstimator = (name: string, settings: Readonly<Record<string, unknown>> = {}): Estimator =>
  estimatorNamed(name).make(settings);

/** A configuration of any algorithm: keys that all have, and those of its estimator. */
export type AlgorithmConfig = { name: string } & ObjectiveConfig & Record<string, unknown>;

const [first, ...others] = DEFINITIONS.map(({ name, config }) =>
  z.strictObject({ name: z.literal(name).default(name), ...(config as z.ZodRawShape), ...objectiveConfig }),
);
// its type is said, because that of a union of them all would take the compiler longer than the rest of the house
const union = z.discriminatedUnion('name', [first!, ...others], {
  error({ code, input }) {
    if (code !== 'invalid_union') return undefined;
    const given = String((input as { name?: unknown }).name);
    const nearest = nearestName(given, ESTIMATORS.keys());
    return `must be ${[...ESTIMATORS.keys()].join(', ')}; got ${given}${nearest ? `; did you mean ${nearest}?` : ''}`;
  },
});

/** The algorithm's part of a configuration; `name` says how rollouts are compared. */
export const algorithmConfig = z
  .preprocess(
    (value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
      const { name = 'g2rpo', clipRange = {}, ...rest } = value as Record<string, unknown>;
      const loss = LOSSES.find((each) => each === rest['loss']) ?? 'ppo';
      const isObject = typeof clipRange === 'object' && clipRange !== null;
      return {
        name: typeof name === 'string' ? ownName(name) : name,
        ...rest,
        // what is not said depends on the loss; sapo and reinforce read none, and their bounds could not be written in YAML
        clipRange:
          isObject && loss !== 'sapo' && loss !== 'reinforce' ? { ...CLIP_RANGES[loss], ...clipRange } : clipRange,
      };
    },
    union as unknown as z.ZodType<AlgorithmConfig>,
  )
  .superRefine(
    (config, context) => {
      for (const problem of combinationProblems(ESTIMATORS.get(config.name)!, config))
        context.addIssue({ code: 'custom', ...problem });
    },
    // also beside other problems: all are told at once
    { when: ({ value }) => ESTIMATORS.has((value as AlgorithmConfig | null | undefined)?.name as string) },
  );
export type AlgorithmInput = { name?: string } & Record<string, unknown>;

/** The keys that are an estimator's own. */
function ownSettings(config: AlgorithmConfig): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).filter(([key]) => key !== 'name' && !Object.hasOwn(objectiveConfig, key)),
  );
}

/** The objective that a configuration describes; settings left out take their defaults. @throws INVALID_CONFIG */
export function createAlgorithm(settings: AlgorithmInput | AlgorithmConfig = {}): Algorithm {
  const parsed = algorithmConfig.safeParse(settings);
  if (!parsed.success)
    throw new G2rpoError(
      'INVALID_CONFIG',
      parsed.error.issues.map((issue) => `${['algorithm', ...issue.path].join('.')}: ${issue.message}`).join('\n'),
    );
  const config = parsed.data;
  return createObjective(estimatorNamed(config.name).make(ownSettings(config)), config);
}
