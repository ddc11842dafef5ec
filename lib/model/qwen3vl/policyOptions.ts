import { refuse, wantList, wantOptions } from '../../runtime/errors.ts';
import type { ExpertLayout } from './expertLayout.ts';
import type { ParameterOptions } from './parameters.ts';
import type { MediaOptions } from './promptEncoder.ts';
import type { EngineOptions } from './sampler.ts';

export interface PolicyOptions extends MediaOptions, ParameterOptions {
  /** how the checkpoint stores experts, if their shapes are not to be asked */
  expertLayout?: ExpertLayout;
  /** how much is sampled at a time */
  engine?: EngineOptions;
}

/** @throws INVALID_ARGUMENT  options that are none, or of another kind than they are declared */
export function checkPolicyOptions(options: PolicyOptions): void {
  const who = 'policy';
  wantOptions(who, 'options', options, [
    ...(['dtype', 'trained', 'keepGradients', 'lora', 'adapter', 'expertLayout', 'engine', 'video'] as const),
    ...(['minPixels', 'maxPixels', 'decodeLimitPixels', 'cacheBytes'] as const),
  ]);
  const { dtype, trained = true, lora, adapter, video, expertLayout } = options;
  if (dtype !== undefined && !['f32', 'f64', 'bf16'].includes(dtype))
    refuse(who, 'dtype', 'must be f32, f64 or bf16', String(dtype));
  if (expertLayout !== undefined && !['in_out', 'out_in'].includes(expertLayout))
    refuse(who, 'expertLayout', 'must be in_out or out_in', String(expertLayout));
  if (adapter !== undefined && typeof adapter !== 'string') refuse(who, 'adapter', 'must be a folder', String(adapter));
  if (typeof trained !== 'boolean') {
    wantOptions(who, 'trained', trained, ['freeze', 'only']);
    for (const [key, patterns] of Object.entries(trained))
      if (patterns !== undefined) wantList(who, `trained.${key}`, patterns);
  }
  if (lora !== undefined) {
    wantOptions(who, 'lora', lora, ['rank', 'alpha', 'targets', 'seed']);
    wantList(who, 'lora.targets', lora.targets);
    for (const key of ['rank', 'alpha', 'seed'] as const)
      if (!Number.isFinite(lora[key])) refuse(who, `lora.${key}`, 'must be a number', String(lora[key]));
  }
  if (video !== undefined)
    wantOptions(who, 'video', video, [
      ...(['minPixels', 'maxPixels', 'fps', 'minFrames', 'maxFrames'] as const),
      ...(['sizing', 'limitFrames', 'outerPair'] as const),
    ]);
}
