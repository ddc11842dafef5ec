import { z } from 'zod';
import { G2rpoError } from '../runtime/errors.ts';
import type { Estimator, RewardedBatch } from './algorithm.ts';

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
  /** Makes one; where it remembers something, with `state` and `restore`. */
  create(
    config: z.output<z.ZodObject<Shape>>,
  ): Pick<Estimator, 'advantages'> & Partial<Pick<Estimator, 'state' | 'restore'>>;
}

/** A definition, its `create` typed by its own keys. */
export const defineEstimator = <Shape extends z.ZodRawShape>(definition: EstimatorDefinition<Shape>) => ({
  ...definition,
  /** Settings left out take their defaults. @throws INVALID_ARGUMENT  a setting outside its domain, or of another name */
  make(settings: Readonly<Record<string, unknown>> = {}): Estimator {
    const parsed = z.strictObject(definition.config).safeParse(settings);
    if (!parsed.success)
      throw new G2rpoError(
        'INVALID_ARGUMENT',
        parsed.error.issues
          .map((issue) => `${definition.name}: ${[...issue.path.map(String), issue.message].join(': ')}`)
          .join('\n'),
      );
    const config = parsed.data as z.output<z.ZodObject<Shape>>;
    const { name, needs = [], penalties = 'summed', over = 'rollouts' } = definition;
    return {
      ...{ name, needs, penalties, over: typeof over === 'function' ? over(config) : over },
      ...forgetful(name),
      ...definition.create(config),
    };
  },
});

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
  if (value === undefined) throw new G2rpoError('INVALID_ARGUMENT', `${name}: ${key} is missing`, { argument: key });
  return value;
}
