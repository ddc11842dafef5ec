import { loadChatTemplate, type ContentPart } from './chatTemplate.ts';
import { openCheckpoint } from './checkpoint.ts';
import { encodePrompt, type EncodedPrompt, type EncodeOptions, type PromptEncoder } from './encodePrompt.ts';
import { loadImageProcessor, type ImageProcessorOptions } from './imageProcessor.ts';
import { loadTokenizer } from './tokenizer.ts';

/**
 * What a checkpoint folder says of prompts, without its weights.
 *
 * @throws INVALID_CHECKPOINT  incomplete, or of another architecture
 */
export async function loadPromptEncoder(
  from: string,
  options: ImageProcessorOptions = {},
): Promise<
  PromptEncoder & { encode(content: readonly ContentPart[], options?: EncodeOptions): Promise<EncodedPrompt> }
> {
  const { config, dir } = await openCheckpoint(from);
  const [tokenizer, template, imageProcessor] = await Promise.all([
    loadTokenizer(dir),
    loadChatTemplate(dir),
    loadImageProcessor(dir, config, options),
  ]);
  const encoder = { config, tokenizer, template, imageProcessor };
  return {
    ...encoder,
    encode: (content, rest) => encodePrompt(encoder, [{ role: 'user', content: [...content] }], rest),
  };
}
