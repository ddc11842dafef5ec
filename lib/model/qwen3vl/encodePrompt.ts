import { G2rpoError } from '../../runtime/errors.ts';
import type { ChatTemplate, ContentPart, ImageSource, Message, RenderOptions } from './chatTemplate.ts';
import type { ModelConfig } from './config.ts';
import type { ImageProcessor, ProcessedImage } from './imageProcessor.ts';
import { positionsOf } from './positions.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A prompt as the policy reads it; S tokens. */
export interface EncodedPrompt {
  inputIds: Int32Array;
  /** rows T, H, W of S positions each */
  positionIds: Int32Array;
  /** position of a later token minus its index */
  ropeDelta: number;
  /** in order of appearance */
  images: ProcessedImage[];
  /** indices of the tokens that stand for pictures, rising; one per visual token of `images` */
  visualRows: Int32Array;
}

export interface PromptEncoder {
  config: ModelConfig;
  tokenizer: Tokenizer;
  template: ChatTemplate;
  imageProcessor: ImageProcessor;
}

export interface EncodeOptions extends RenderOptions {
  /** visual tokens count */
  maxPromptTokens?: number;
}

/**
 * Renders a conversation, makes tokens of it, processes its pictures, and puts as many placeholders in the place of each
 * as it has visual tokens. Ends with the opening of an assistant turn unless `addGenerationPrompt` is false.
 *
 * A text that spells out a control token (`<|im_end|>`, `<|image_pad|>`, …) is refused, whoever speaks: it would end the
 * turn, or stand for a picture that is not there. A prompt that is too long is refused, never cut: what is cut could be
 * half a picture.
 *
 * @throws INVALID_PROMPT  control tokens in a text, too long, or a template that drops or doubles a picture
 * @throws INVALID_IMAGE  a picture that is missing, truncated, too large or none
 */
export async function encodePrompt(
  { config, tokenizer, template, imageProcessor }: PromptEncoder,
  messages: readonly Message[],
  { maxPromptTokens = Infinity, ...options }: EncodeOptions = {},
): Promise<EncodedPrompt> {
  messages.forEach((message, k) => checkTexts(message, k, tokenizer));
  const text = template.render(messages, { addGenerationPrompt: true, ...options });
  const ids = tokenizer.encode(text);
  const sources = messages.flatMap(({ content }) => partsOf(content).flatMap((part) => imageIn(part)));
  const placeholders = ids.filter((id) => id === config.ids.image).length;
  if (placeholders !== sources.length || ids.includes(config.ids.video))
    throw new G2rpoError(
      'INVALID_PROMPT',
      `prompt: ${sources.length} images, but the chat template makes ${placeholders} image placeholders of them` +
        (ids.includes(config.ids.video) ? ', and a video placeholder' : ''),
      { images: sources.length, placeholders },
    );
  const images = await Promise.all(sources.map((source) => imageProcessor.process(source)));
  const visual = images.reduce((sum, image) => sum + image.visualTokens, 0);
  const length = ids.length - images.length + visual;
  if (length > maxPromptTokens)
    throw new G2rpoError(
      'INVALID_PROMPT',
      `prompt: ${length} tokens, ${visual} of them for ${images.length} images; at most ${maxPromptTokens} are allowed`,
      { tokens: length, visualTokens: visual, maxPromptTokens },
    );
  const { inputIds, visualRows } = expand(ids, images, length, visual, config.ids.image);
  const grids = { images: images.map((image) => image.gridThw), videos: [] };
  return { inputIds, ...positionsOf(inputIds, grids, config), images, visualRows };
}

function expand(ids: Int32Array, images: ProcessedImage[], length: number, visual: number, imageId: number) {
  const inputIds = new Int32Array(length);
  const visualRows = new Int32Array(visual);
  let [at, row, next] = [0, 0, 0];
  for (const id of ids) {
    const copies = id === imageId ? images[next++]!.visualTokens : 1;
    for (let k = 0; k < copies; k++, at++) {
      inputIds[at] = id;
      if (id === imageId) visualRows[row++] = at;
    }
  }
  return { inputIds, visualRows };
}

function checkTexts(message: Message, k: number, tokenizer: Tokenizer): void {
  const texts = partsOf(message.content).flatMap((part) => (part.type === 'text' ? [part.text] : []));
  for (const text of [...texts, JSON.stringify(message.tool_calls ?? [])]) {
    const token = tokenizer.controlTokenIn(text);
    if (token !== undefined)
      throw new G2rpoError(
        'INVALID_PROMPT',
        `prompt: the text of message ${k} (${message.role}) contains the control token ${token}`,
        { message: k, token },
      );
  }
}

function partsOf(content: Message['content']): ContentPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : (content ?? []);
}

/** The picture of a part, if it is one. Data from outside may hold other kinds. */
function imageIn(part: ContentPart): ImageSource[] {
  if (part.type === 'image') return [part.image];
  if (part.type === 'text' && typeof part.text === 'string') return [];
  const type = (part as { type?: unknown }).type;
  throw new G2rpoError('INVALID_PROMPT', `prompt: a content part must be text or image; got ${JSON.stringify(type)}`, {
    type,
  });
}
