import { G2rpoError, wantList, wantObject, wantOptions } from '../../runtime/errors.ts';
import type { ChatTemplate, ContentPart, Message, RenderOptions } from './chatTemplate.ts';
import type { ModelConfig } from './config.ts';
import { countOf, expandPlaceholders, withTimestamps, type Media } from './expandPlaceholders.ts';
import type { ImageProcessor, ProcessedImage } from './imageProcessor.ts';
import { positionsOf } from './positions.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { ProcessedVideo, VideoProcessor } from './videoProcessor.ts';

/** A prompt as the policy reads it; S tokens. */
export interface EncodedPrompt {
  inputIds: Int32Array;
  /** rows T, H, W of S positions each */
  positionIds: Int32Array;
  /** position of a later token minus its index */
  ropeDelta: number;
  /** pictures and videos, in order of appearance */
  images: (ProcessedImage | ProcessedVideo)[];
  /** indices of the tokens that stand for them, rising; one per visual token of `images` */
  visualRows: Int32Array;
}

export interface PromptEncoder {
  config: ModelConfig;
  tokenizer: Tokenizer;
  template: ChatTemplate;
  imageProcessor: ImageProcessor;
  /** undefined where the checkpoint does not say how videos are read */
  videoProcessor?: VideoProcessor | undefined;
}

export interface EncodeOptions extends RenderOptions {
  /** visual tokens count */
  maxPromptTokens?: number;
}

/**
 * Renders a conversation, makes tokens of it, processes its pictures and videos, and puts as many placeholders in the place of each
 * as it has visual tokens; before every temporal patch of a video stands its time. Ends with the opening of an assistant turn unless
 * `addGenerationPrompt` is false.
 *
 * A text that spells out a control token (`<|im_end|>`, `<|image_pad|>`, …) is refused, whoever speaks: it would end the
 * turn, or stand for a picture that is not there. A prompt that is too long is refused, never cut: what is cut could be
 * half a picture.
 *
 * @throws INVALID_PROMPT  control tokens in a text, too long, or a template that drops or doubles a picture or video
 * @throws INVALID_IMAGE  a picture or frame that is missing, truncated, too large or none
 * @throws INVALID_VIDEO  no frames, too few or too many, of several sizes, or fps that is no positive number
 * @throws INVALID_CHECKPOINT  a video, and the checkpoint does not say how it is to be read
 */
export async function encodePrompt(
  { config, tokenizer, template, imageProcessor, videoProcessor }: PromptEncoder,
  messages: readonly Message[],
  given: EncodeOptions = {},
): Promise<EncodedPrompt> {
  wantList('prompt', 'messages', messages);
  messages.forEach((message, k) => wantObject('prompt', `messages[${k}]`, message));
  wantOptions('prompt', 'options', given, ['maxPromptTokens', 'addGenerationPrompt', 'tools', 'addVisionId']);
  const { maxPromptTokens = Infinity, ...options } = given;
  messages.forEach((message, k) => checkTexts(message, k, tokenizer));
  const text = template.render(messages, { addGenerationPrompt: true, ...options });
  const parts = messages.flatMap(({ content }) => partsOf(content).filter(isMedium));
  const [stills, clips] = [
    parts.filter((part) => part.type === 'image'),
    parts.filter((part) => part.type === 'video'),
  ];
  const { ids } = config;
  checkPlaceholders('image', stills.length, countOf(text, tokenizer.decode([ids.image])));
  checkPlaceholders('video', clips.length, countOf(text, tokenizer.decode([ids.video])));
  if (clips.length > 0 && !videoProcessor)
    throw new G2rpoError('INVALID_CHECKPOINT', 'prompt: it shows a video, and the checkpoint has no video_preprocessor_config.json'); // prettier-ignore
  const [images, videos] = await Promise.all([
    Promise.all(stills.map(({ image }) => imageProcessor.process(image))),
    Promise.all(clips.map((clip) => videoProcessor!.process(clip))),
  ]);
  const outerPair = videoProcessor?.settings.outerPair ?? false;
  const tokens = tokenizer.encode(withTimestamps(text, videos, { ids, tokenizer, outerPair }));
  const { inputIds, visualRows, shown } = expandPlaceholders(tokens, { images, videos }, ids);
  if (inputIds.length > maxPromptTokens)
    throw tooLong(inputIds.length, visualRows.length, { images, videos }, maxPromptTokens);
  const grids = { images: images.map(({ gridThw }) => gridThw), videos: videos.map(({ gridThw }) => gridThw) };
  return { inputIds, ...positionsOf(inputIds, grids, config), images: shown, visualRows };
}

function checkPlaceholders(kind: 'image' | 'video', count: number, placeholders: number): void {
  if (placeholders !== count)
    throw new G2rpoError(
      'INVALID_PROMPT',
      `prompt: ${count} ${kind}s, but the chat template makes ${placeholders} ${kind} placeholders of them`,
      { [`${kind}s`]: count, placeholders },
    );
}

function tooLong(length: number, visual: number, { images, videos }: Media, maxPromptTokens: number): G2rpoError {
  const shown = `${images.length} images${videos.length > 0 ? ` and ${videos.length} videos` : ''}`;
  return new G2rpoError(
    'INVALID_PROMPT',
    `prompt: ${length} tokens, ${visual} of them for ${shown}; at most ${maxPromptTokens} are allowed`,
    { tokens: length, visualTokens: visual, maxPromptTokens },
  );
}

function checkTexts(message: Message, k: number, tokenizer: Tokenizer): void {
  const texts = partsOf(message.content).flatMap((part) => (isMedium(part) ? [] : [part.text]));
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
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  const parts = content ?? [];
  wantList('prompt', 'content', parts);
  return parts;
}

/** Whether a part is a picture or a video. Data from outside may hold other kinds. */
function isMedium(part: ContentPart): part is Exclude<ContentPart, { type: 'text' }> {
  const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
  if (type === 'image' || type === 'video') return true;
  if (type === 'text' && typeof text === 'string') return false;
  throw new G2rpoError(
    'INVALID_PROMPT',
    `prompt: a content part must be text, image or video; got ${JSON.stringify(type)}`,
    { type },
  );
}
