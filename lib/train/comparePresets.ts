import { LENGTH_THRESHOLDS } from '../algorithms/shaping/lengthReward.ts';
import { loadTrainConfig } from './config.ts';
import type { Preset } from './presets.ts';

/** A key in which configurations differ, with the value that each has; undefined where it has no such key. */
export interface Difference {
  key: string;
  /** without a preset */
  usual: unknown;
  /** in the order of the presets */
  values: unknown[];
}

/**
 * Where presets differ from what a configuration has without one, or from each other, in keys that one of them names; in the order of
 * the configuration.
 */
export function comparePresets(presets: readonly Preset[]): Difference[] {
  const usual = resolved();
  const each = presets.map(({ name }) => resolved(name));
  const named = new Set(presets.flatMap(({ values }) => values.map(([key]) => key)));
  return merged([usual, ...each].map((values) => [...values.keys()])).flatMap((key) => {
    const difference = { key, usual: usual.get(key), values: each.map((values) => values.get(key)) };
    const same = difference.values.every((value) => sameValue(value, difference.usual));
    return same || !named.has(key) ? [] : [difference];
  });
}

export const sameValue = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** One order for several lists: what only a later one has stands behind what it stands behind there. */
function merged(lists: readonly (readonly string[])[]): string[] {
  const all: string[] = [];
  for (const list of lists)
    list.forEach((key, i) => {
      if (!all.includes(key)) all.splice(i === 0 ? 0 : all.indexOf(list[i - 1]!) + 1, 0, key);
    });
  return all;
}

/** Every value of the smallest configuration with a preset, by dotted key; the name of the preset left out. */
function resolved(preset?: string): Map<string, unknown> {
  const least = { output: '.', policy: { path: '.' }, data: { train: '.' }, train: { steps: 1 } };
  const config = loadTrainConfig(preset === undefined ? least : { ...least, preset });
  const values = new Map<string, unknown>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [key, inner] of Object.entries(value)) walk(inner, path ? `${path}.${key}` : key);
    else values.set(path, value);
  };
  walk(config, '');
  values.delete('preset');
  // thresholds that are not written are there all the same
  for (const [task, thresholds] of Object.entries(LENGTH_THRESHOLDS)) {
    const key = `algorithm.lengthReward.tasks.${task}`;
    values.set(key, values.get(key) ?? thresholds);
  }
  return values;
}
