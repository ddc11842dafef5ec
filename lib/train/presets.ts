import { objectiveConfig } from '../algorithms/objective.ts';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import { getAt, setAt, type ConfigTree } from './parseConfig.ts';
import * as values from './presetValues.ts';
import type { PresetValue } from './presetValues.ts';

/** A configuration by name: values that stand under what a user writes, each with its source. */
export interface Preset {
  name: string;
  /** one sentence for tables */
  summary: string;
  values: readonly PresetValue[];
}

const list: readonly Preset[] = [
  { name: 'paper', summary: 'G²RPO with entropy and length shaping, as its paper describes it', values: values.paper },
  { name: 'reference-code', summary: 'G²RPO as its released code runs it, shaping off', values: values.referenceCode },
  { name: 'easyr1', summary: 'GRPO as EasyR1 runs it when nothing is changed', values: values.easyr1 },
  { name: 'grpo', summary: 'GRPO as its paper describes it', values: values.grpo },
  {
    name: 'dapo',
    summary: 'DAPO: clip-higher, token-level loss, dynamic sampling, overlong penalty',
    values: values.dapo,
  },
  { name: 'dr-grpo', summary: 'Dr. GRPO: no division by deviation or length', values: values.drGrpo },
  { name: 'ema-grpo', summary: 'EMA-GRPO as OneThinker runs it', values: values.emaGrpo },
  { name: 'gspo', summary: 'GSPO: ratios of whole responses', values: values.gspo },
];

/** Every preset by name. */
export const PRESETS: ReadonlyMap<string, Preset> = new Map(list.map((each) => [each.name, each]));

/** What is wrong with the name of a preset, or undefined. */
export function presetProblem(name: string): string | undefined {
  if (PRESETS.has(name)) return undefined;
  const nearest = nearestName(name, PRESETS.keys());
  return `must be one of ${[...PRESETS.keys()].join(', ')}${nearest ? `; did you mean ${nearest}?` : ''}`;
}

/** @throws INVALID_ARGUMENT  there is none, with the nearest */
export function presetNamed(name: string): Preset {
  const found = PRESETS.get(name);
  if (found) return found;
  throw new G2rpoError('INVALID_ARGUMENT', `preset ${presetProblem(name)}; got ${name}`, { preset: name });
}

/**
 * The values that the preset of a configuration adds to what is written there, by dotted key: those that are not written, and that
 * what is written leaves a meaning. Keys of the preset's own estimator go when another is written, and bounds on the ratio with
 * their loss: 0.2 is no bound for GSPO.
 */
export function presetUnder(config: ConfigTree): Map<string, unknown> {
  const preset = PRESETS.get(String(config['preset']));
  const own = new Map(preset?.values.map(([key, value]) => [key, value]));
  const at = (key: string): unknown => getAt(config, key.split('.'));
  const another = (key: string) => at(key) !== undefined && at(key) !== own.get(key);
  const [otherEstimator, otherLoss] = [another('algorithm.name'), another('algorithm.loss')];
  for (const key of own.keys()) {
    const [section, first] = key.split('.') as [string, string];
    const estimators = section === 'algorithm' && first !== 'name' && !Object.hasOwn(objectiveConfig, first);
    if ((otherEstimator && estimators) || (otherLoss && first === 'clipRange') || isTaken(config, key)) own.delete(key);
  }
  return own;
}

/** The configuration with its preset under it. */
export function withPreset(config: ConfigTree): ConfigTree {
  const whole = structuredClone(config);
  for (const [key, value] of presetUnder(config)) setAt(whole, key.split('.'), structuredClone(value));
  return whole;
}

/** Whether something is written there, or where a group of keys would have to be. */
function isTaken(config: ConfigTree, key: string): boolean {
  let at: unknown = config;
  for (const part of key.split('.')) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return true;
    at = (at as ConfigTree)[part];
    if (at === undefined) return false;
  }
  return true;
}
