import { z } from 'zod';
import { ESTIMATORS } from '../algorithms/index.ts';
import { objectiveConfig } from '../algorithms/objective.ts';
import { ablationConfig } from './ablation.ts';
import { PATHS, sftConfig, trainConfig } from './config.ts';
import { PRESETS } from './presets.ts';
import { wordsOf, type JsonSchema } from './schemaWords.ts';

/** A key of a configuration, as its declaration has it. */
export interface ConfigKey {
  /** dotted; what stands under each entry of a list has `[]` before it */
  key: string;
  type: string;
  /** undefined where it must be given, or is absent unless it is */
  default?: unknown;
  required: boolean;
  /** where the default is from, if it is not ours */
  source?: string;
  description: string;
  /** ways to compare rollouts that have it; absent where all do */
  of?: string[];
}

/** What is configured, by the name of the command that reads it. */
export const CONFIGURATIONS = ['train', 'sft', 'ablate'] as const;
export type ConfigurationName = (typeof CONFIGURATIONS)[number];

/** Every key of a configuration, in the order of its declarations. */
export function configKeys(name: ConfigurationName): ConfigKey[] {
  const schema = { train: trainConfig, sft: sftConfig, ablate: ablationConfig }[name];
  // the algorithm is one of several groups of keys
  const shape = Object.entries(schema.shape).map(
    ([key, type]) => [key, key === 'algorithm' ? z.unknown() : type] as const,
  );
  return keysOf(jsonOf(z.strictObject(Object.fromEntries(shape))))
    .flatMap((found) => (found.key === 'algorithm' ? algorithmKeys() : [found]))
    .map(sourced);
}

/** Keys that all objectives share, before them the name, behind them what is an estimator's own. */
function algorithmKeys(): ConfigKey[] {
  const name: ConfigKey = {
    key: 'algorithm.name',
    type: [...ESTIMATORS.keys()].join(', '),
    default: 'g2rpo',
    required: false,
    description: 'how rollouts are compared',
  };
  const own = new Map<string, ConfigKey>();
  for (const { name: estimator, config } of ESTIMATORS.values())
    for (const key of keysOf(jsonOf(z.strictObject(config)), 'algorithm.')) {
      const same = JSON.stringify(key);
      const found = own.get(same) ?? { ...key, of: [] };
      found.of!.push(estimator);
      own.set(same, found);
    }
  return [name, ...keysOf(jsonOf(z.strictObject(objectiveConfig)), 'algorithm.'), ...own.values()];
}

const FILES = [...PATHS, 'base', 'phases[].demonstrations[].files'];
const jsonOf = (schema: z.ZodType): JsonSchema =>
  z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;

function keysOf({ properties = {}, required = [] }: JsonSchema, prefix = ''): ConfigKey[] {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const key = prefix + name;
    const inner = schema.properties ?? schema.items?.properties;
    const own: ConfigKey = {
      key,
      type: wordsOf(
        schema.items?.properties ? { items: {} } : inner ? {} : schema,
        FILES.includes(key) ? 'path' : 'text',
      ),
      ...(schema.default !== undefined && { default: schema.default }),
      required: required.includes(name),
      description: schema.description ?? '',
    };
    if (!inner) return [own];
    const below = keysOf(schema.items ?? schema, schema.items ? `${key}[].` : `${key}.`);
    return own.description === '' ? below : [own, ...below];
  });
}

/** With the source of the default, where the preset of the paper has the same value and says where it is from. */
function sourced(key: ConfigKey): ConfigKey {
  const found = PRESETS.get('paper')!.values.find(([name]) => name === key.key);
  const same = found && key.default !== undefined && JSON.stringify(found[1]) === JSON.stringify(key.default);
  return same ? { ...key, source: found[2] } : key;
}
