import { z } from 'zod';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import type { Estimator, RewardedBatch } from './algorithm.ts';
import { checkNumbers, describe, isObject, refuse } from './arguments.ts';

/** A way to compare rollouts, with the part of the configuration that is its own. */
export interface EstimatorDefinition<Shape extends z.ZodRawShape = z.ZodRawShape> {
  name: string;
  /** one sentence for tables */
  summary: string;
  /** keys of its own, beside those that all objectives share */
  config: Shape;
  needs?: Estimator['needs'];
  /** default: rollouts */
  over?: Estimator['over'] | ((config: z.output<z.ZodObject<Shape>>) => Estimator['over']);
  /** default: summed; none where rewards are not what is compared, so that nothing could be taken off them */
  penalties?: Estimator['penalties'];
  /** values that settings must have for all tokens of a rollout to get the same number; default: they always do */
  alike?: Partial<z.output<z.ZodObject<Shape>>>;
  /** Makes one; where it remembers something, with `state` and `restore`. */
  create(
    config: z.output<z.ZodObject<Shape>>,
  ): Pick<Estimator, 'advantages'> & Partial<Pick<Estimator, 'state' | 'restore'>>;
}

/** A definition, whatever its own keys are. */
export interface EstimatorChoice {
  name: string;
  summary: string;
  needs?: Estimator['needs'];
  penalties?: Estimator['penalties'];
  alike?: Readonly<Record<string, unknown>>;
  settings: readonly EstimatorSetting[];
  /** keys of its own, beside those that all objectives share */
  config: z.ZodRawShape;
  make: (settings?: Readonly<Record<string, unknown>>) => Estimator;
}

/** A key of an estimator, for tables. */
export interface EstimatorSetting {
  name: string;
  default: unknown;
  description: string;
}

/** A definition, its `create` typed by its own keys. */
export const defineEstimator = <Shape extends z.ZodRawShape>(definition: EstimatorDefinition<Shape>) => {
  const schema = z.strictObject(definition.config);
  let defaults: z.output<z.ZodObject<Shape>> | undefined; // parsed once: a batch may be compared sooner than that is done
  const configOf = (settings: Readonly<Record<string, unknown>>) => {
    if (!isObject(settings) || Object.keys(settings).length > 0 || Array.isArray(settings))
      return settingsOf(definition.name, schema, settings);
    defaults ??= settingsOf(definition.name, schema, settings);
    return { ...defaults };
  };
  return {
    ...definition,
    settings: Object.entries(definition.config).map(([name, type]): EstimatorSetting => {
      const { description = '' } = type as z.ZodType;
      return { name, description, default: (type as z.ZodType).parse(undefined) };
    }),
    /** Settings left out take their defaults. @throws INVALID_ARGUMENT  a setting outside its domain, or of another name */
    make(settings: Readonly<Record<string, unknown>> = {}): Estimator {
      const config = configOf(settings);
      const { name, needs = [], penalties = 'summed', over = 'rollouts' } = definition;
      const made = definition.create(config);
      return {
        ...{ name, needs, penalties, over: typeof over === 'function' ? over(config) : over },
        ...forgetful(name),
        ...made,
        async advantages(batch) {
          const advantages = await made.advantages(batch);
          // rewards near the end of what a double can hold have no differences or variances in it
          checkNumbers(name, 'the advantage of rewards this far apart', advantages, true);
          return advantages;
        },
      };
    },
  };
};

/** Settings with their defaults. @throws INVALID_ARGUMENT  a key of another name, with the nearest; all values out of their domain */
export function settingsOf<Shape extends z.ZodRawShape>(
  who: string,
  schema: z.ZodObject<Shape>,
  given: unknown,
): z.output<z.ZodObject<Shape>> {
  if (!isObject(given) || Array.isArray(given))
    return refuse(who, 'settings', 'must be settings by name', describe(given));
  const known = Object.keys(schema.shape);
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    const nearest = nearestName(unknown, known);
    const hint = nearest ? `did you mean ${nearest}?` : `there are ${known.join(', ') || 'none'}`;
    const details = { argument: unknown, wanted: known, got: unknown, nearest };
    throw new G2rpoError('INVALID_ARGUMENT', `${who}: no setting ${unknown}; ${hint}`, details);
  }
  const parsed = schema.safeParse(given, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message, input }) => ({
    argument: path.map(String).join('.'),
    wanted: message,
    got: describe(input),
  }));
  const message = problems.map(({ argument, wanted }) => `${who}: ${argument}: ${wanted}`).join('\n');
  throw new G2rpoError('INVALID_ARGUMENT', message, problems[0]);
}

/** State of an estimator that remembers nothing. */
const forgetful = (name: string): Pick<Estimator, 'state' | 'restore'> => ({
  state: () => null,
  restore(state) {
    if (state !== null)
      throw new G2rpoError('INVALID_CHECKPOINT', `${name}: remembers nothing; got ${JSON.stringify(state)}`);
  },
});

/** @throws INVALID_ARGUMENT  the batch does not have it */
export function need<K extends 'tokenStarts' | 'components' | 'greedyRewards'>(
  name: string,
  batch: RewardedBatch,
  key: K,
): NonNullable<RewardedBatch[K]> {
  const value = batch[key];
  if (value === undefined)
    throw new G2rpoError('INVALID_ARGUMENT', `${name}: ${key} is missing`, { argument: key, wanted: key, got: 'none' });
  return value;
}
