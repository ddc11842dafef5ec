import { loadChatTemplate, type ContentPart } from './chatTemplate.ts';
import { openCheckpoint, type Checkpoint } from './checkpoint.ts';
import { encodePrompt, type EncodedPrompt, type EncodeOptions, type PromptEncoder } from './encodePrompt.ts';
import { loadImageProcessor, type ImageProcessorOptions } from './imageProcessor.ts';
import { loadTokenizer } from './tokenizer.ts';
import { loadVideoProcessor } from './videoProcessor.ts';
import type { VideoOptions } from './videoSettings.ts';

export interface MediaOptions extends ImageProcessorOptions {
  /** what stands above the checkpoint's settings of videos */
  video?: VideoOptions | undefined;
}

/** What the files beside the weights say of prompts. @throws INVALID_CHECKPOINT  incomplete, or for another model */
export async function readPromptEncoder(
  { config, dir }: Pick<Checkpoint, 'config' | 'dir'>,
  { video, ...images }: MediaOptions = {},
): Promise<Required<PromptEncoder>> {
  const [tokenizer, template, imageProcessor, videoProcessor] = await Promise.all([
    loadTokenizer(dir),
    loadChatTemplate(dir),
    loadImageProcessor(dir, config, images),
    loadVideoProcessor(dir, config, video, images),
  ]);
  return { config, tokenizer, template, imageProcessor, videoProcessor };
}

/**
 * What a checkpoint folder says of prompts, without its weights.
 *
 * @throws INVALID_CHECKPOINT  incomplete, or of another architecture
 */
export async function loadPromptEncoder(
  from: string,
  media: MediaOptions = {},
): Promise<
  PromptEncoder & { encode(content: readonly ContentPart[], options?: EncodeOptions): Promise<EncodedPrompt> }
> {
  const encoder = await readPromptEncoder(await openCheckpoint(from), media);
  return {
    ...encoder,
    encode: (content, rest) => encodePrompt(encoder, [{ role: 'user', content: [...content] }], rest),
  };
}
