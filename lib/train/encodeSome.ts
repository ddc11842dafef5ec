import { createPromptStream } from '../data/promptStream.ts';
import type { EncodedPrompt, PromptEncoder } from '../model/qwen3vl/encodePrompt.ts';
import { loadPromptEncoder } from '../model/qwen3vl/promptEncoder.ts';
import { encodePrompts } from '../rollout/encodePrompts.ts';
import type { Prompt } from '../types.ts';
import type { TrainConfig } from './config.ts';
import { mediaOptions } from './trainee.ts';

const MOST = 64;

/** The first prompts that a run will draw, as its policy reads them, without its weights. */
export interface SomeEncoded {
  encoder: PromptEncoder;
  /** prompts that were looked at; those of them that cannot be encoded are left out where bad rows are skipped */
  looked: number;
  encoded: EncodedPrompt[];
  /** tokens of the longest */
  longest: number;
}

/** @throws INVALID_CHECKPOINT, INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO */
export async function encodeSome(config: TrainConfig, prompts: readonly Prompt[]): Promise<SomeEncoded> {
  const { data, policy, seed } = config;
  const encoder = await loadPromptEncoder(policy.path, mediaOptions(policy));
  const sample = createPromptStream(prompts, { ...data, seed }).next(Math.min(MOST, prompts.length));
  const options = { maxPromptTokens: policy.maxPromptTokens, text: data, onBadRow: data.onBadRow };
  const encoded = (await encodePrompts(encoder, sample, options)).flatMap((found) =>
    found.encoded ? [found.encoded] : [],
  );
  const longest = Math.max(0, ...encoded.map(({ inputIds }) => inputIds.length));
  return { encoder, looked: sample.length, encoded, longest };
}
