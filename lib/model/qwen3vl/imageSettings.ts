import type { ModelConfig } from './config.ts';
import { ConfigReader } from './configReader.ts';
import type { AreaLimits } from './smartResize.ts';

export interface ImageSettings extends AreaLimits {
  patch: number;
  temporalPatch: number;
  merge: number;
  mean: [number, number, number];
  std: [number, number, number];
}

/**
 * The settings in a parsed `preprocessor_config.json`. `size` counts pixels, in spite of its names; the older
 * `min_pixels` and `max_pixels` take precedence over it.
 *
 * @throws INVALID_CHECKPOINT  all problems at once
 */
export function parseImageSettings(json: unknown, file: string, config: Pick<ModelConfig, 'vision'>): ImageSettings {
  const read = new ConfigReader(json);
  const settings = readImageSettings(read, config);
  read.finish(file);
  return settings;
}

/** What the files of pictures and of videos have in common; problems stay with the reader. */
export function readImageSettings(read: ConfigReader, { vision }: Pick<ModelConfig, 'vision'>): ImageSettings {
  const area = (legacy: string, key: string) =>
    read.integer(read.has(legacy) ? legacy : key, 1, Number.MAX_SAFE_INTEGER);
  const channels = (key: string): [number, number, number] => {
    const value = read.raw(key);
    if (Array.isArray(value) && value.length === 3 && value.every(Number.isFinite))
      return value as [number, number, number];
    read.problem(`${key} must be three numbers; got ${JSON.stringify(value)}`);
    return [0, 0, 0];
  };
  const settings: ImageSettings = {
    minPixels: area('min_pixels', 'size.shortest_edge'),
    maxPixels: area('max_pixels', 'size.longest_edge'),
    patch: read.integer('patch_size'),
    temporalPatch: read.integer('temporal_patch_size'),
    merge: read.integer('merge_size'),
    mean: channels('image_mean'),
    std: channels('image_std'),
  };
  for (const step of ['do_resize', 'do_rescale', 'do_normalize', 'do_convert_rgb']) read.expect(step, true);
  read.expect('resample', 3); // bicubic
  if (read.has('rescale_factor') && Math.abs(read.positive('rescale_factor') * 255 - 1) > 1e-6)
    read.problem(`rescale_factor must be 1/255; got ${String(read.raw('rescale_factor'))}`);
  for (const [key, name] of [
    ['patch', 'patch_size'],
    ['temporalPatch', 'temporal_patch_size'],
    ['merge', 'merge_size'],
  ] as const)
    if (settings[key] !== vision[key]) read.problem(`${name} is ${settings[key]}, but the model has ${vision[key]}`);
  return settings;
}
