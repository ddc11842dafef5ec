import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { SPELLING } from './aliases.ts';
import type { TrainConfig } from './config.ts';
import { parseConfig } from './parseConfig.ts';
import { readTrainConfig, type ConfigChange } from './readConfig.ts';
import { readYaml } from './yamlFile.ts';

const unique = (values: readonly unknown[]): boolean => new Set(values).size === values.length;

/** Folder of the report, beside those of the variants. */
export const REPORT = 'report';

const variantConfig = z
  .looseObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.+_-]*$/i, 'must be letters, digits, dots, dashes and plus signs')
      .refine((name) => name !== REPORT, `must not be ${REPORT}, which is a folder of its own`)
      .describe('of its folder, and in the report'),
  })
  .refine((variant) => !('seed' in variant || 'output' in variant), 'must leave seed and output to the ablation');

export const ablationConfig = z.strictObject({
  output: z.string().min(1).describe('folder of all runs and of the report'),
  base: z.string().min(1).describe('configuration that every variant begins with'),
  seeds: z
    .array(z.int())
    .min(1)
    .refine(unique, 'must be different from each other')
    .describe('every variant is trained once with each'),
  jobs: z.int().min(1).default(1).describe('runs at a time; they share the processors'),
  reference: z.string().exactOptional().describe('variant that the others are compared with; default the last'),
  variants: z
    .array(variantConfig)
    .min(1)
    .refine((all) => unique(all.map((each) => each.name)), 'must have a name each, none twice')
    .describe('a name, and what it changes of the base'),
});

/** One training of a grid. */
export interface Trial {
  variant: string;
  seed: number;
  dir: string;
  changes: readonly ConfigChange[];
  config: TrainConfig;
}

/** A grid of trainings: variants of one configuration, each with every seed. */
export interface Ablation {
  output: string;
  base: string;
  jobs: number;
  /** variant that the others are compared with */
  reference: string;
  variants: readonly string[];
  /** seed by seed, so that a grid that is stopped early has something of every variant */
  trials: readonly Trial[];
}

/**
 * The grid that a YAML file describes. All of its configurations are read before anything is trained.
 *
 * @throws IO  a file cannot be read
 * @throws INVALID_CONFIG  in this file, or in what a variant makes of the base
 */
export function readAblation(file: string): Ablation {
  const named = SPELLING.named!.map((key) => `variants.${key}`); // tasks and the like are names, not keys of ours
  const options = { paths: ['output', 'base'], baseDir: dirname(resolve(file)), spelling: { names: new Map(), named } };
  const config = parseConfig(ablationConfig, readYaml(file, 'the ablation'), options);
  const variants = config.variants.map((each) => each.name);
  const reference = config.reference ?? variants.at(-1)!;
  if (!variants.includes(reference)) {
    const nearest = nearestName(reference, variants);
    const hint = nearest ? `did you mean ${nearest}?` : `there are ${variants.join(', ')}`;
    throw new G2rpoError('INVALID_CONFIG', `reference: there is no variant ${reference}; ${hint}`, { file });
  }
  const problems: G2rpoError[] = [];
  const trials = config.seeds.flatMap((seed, s) =>
    config.variants.flatMap(({ name: variant, ...changed }): Trial[] => {
      const dir = join(config.output, variant, `seed-${seed}`);
      const changes = [...leaves(changed), { path: 'seed', value: seed }, { path: 'output', value: dir }];
      try {
        return [{ variant, seed, dir, changes, config: readTrainConfig(config.base, changes).config }];
      } catch (cause) {
        if (!(cause instanceof G2rpoError)) throw cause;
        const { code, message, details } = cause;
        // what is wrong with a variant is so with every seed
        if (s === 0) problems.push(new G2rpoError(code, `variant ${variant}: ${message}`, details, { cause }));
        return [];
      }
    }),
  );
  if (problems.length > 0)
    throw new G2rpoError(problems[0]!.code, problems.map(({ message }) => message).join('\n'), problems[0]!.details);
  return { output: config.output, base: config.base, jobs: config.jobs, reference, variants, trials };
}

/** Values by dotted key; a list is one value. */
function leaves(value: Record<string, unknown>, path: string[] = []): ConfigChange[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, key];
    const nested = typeof inner === 'object' && inner !== null && !Array.isArray(inner);
    return nested ? leaves(inner as Record<string, unknown>, at) : [{ path: at.join('.'), value: inner }];
  });
}
