import { Template } from '@huggingface/jinja';
import { G2rpoError } from '../../runtime/errors.ts';
import { isObject } from './configReader.ts';
import { readJsonFile, readTextFile } from './jsonFile.ts';

/** A picture: the path of a file, or the bytes of one with a name for messages. */
export type ImageSource = string | { bytes: Uint8Array; name: string };

/** A video: a folder of pictures, taken by name, or a list of pictures. */
export interface VideoSource {
  frames: string | readonly ImageSource[];
  /** of the frames as they are given, per second */
  fps: number;
  /** so many of them are looked at, instead of so many per second */
  numFrames?: number;
}

export type ContentPart =
  { type: 'text'; text: string } | { type: 'image'; image: ImageSource } | ({ type: 'video' } & VideoSource);

export interface FunctionCall {
  name: string;
  /** A string is rendered verbatim. JavaScript cannot tell 2.0 from 2 in an object, a string can. */
  arguments: unknown;
}

/** A call as such, or wrapped the way the OpenAI interface does. */
export type ToolCall = FunctionCall | { function: FunctionCall };

export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  /** null only beside tool calls; rendered as no text */
  content: string | ContentPart[] | null;
  tool_calls?: ToolCall[];
}

export interface RenderOptions {
  /** end with the opening of an assistant turn */
  addGenerationPrompt?: boolean;
  /** JSON schemas of functions the policy may call */
  tools?: unknown[];
  /** precede every picture and video by its number */
  addVisionId?: boolean;
}

export interface ChatTemplate {
  /** The text of a conversation, one placeholder per picture or video. */
  render(messages: readonly Message[], options?: RenderOptions): string;
}

/**
 * The chat template of a checkpoint folder: `chat_template.jinja`, or else `chat_template.json`, or else the one in
 * `tokenizer_config.json`.
 *
 * @throws INVALID_CHECKPOINT  there is none, or it is not Jinja
 */
export async function loadChatTemplate(dir: string): Promise<ChatTemplate> {
  const jinja = await readTextFile(`${dir}/chat_template.jinja`, { optional: true });
  if (jinja !== undefined) return chatTemplate(jinja, `${dir}/chat_template.jinja`);
  for (const file of [`${dir}/chat_template.json`, `${dir}/tokenizer_config.json`]) {
    const text = templateIn(await readJsonFile(file, { optional: true }));
    if (text !== undefined) return chatTemplate(text, file);
  }
  throw new G2rpoError(
    'INVALID_CHECKPOINT',
    `${dir}: no chat_template.jinja, chat_template.json or chat_template key`,
    { dir },
  );
}

/** A text, or the one called "default" of a list of named ones. */
function templateIn(json: unknown): string | undefined {
  const value = isObject(json) ? json['chat_template'] : undefined;
  if (typeof value === 'string') return value;
  const named: unknown = Array.isArray(value) && value.find((entry) => isObject(entry) && entry['name'] === 'default');
  return isObject(named) && typeof named['template'] === 'string' ? named['template'] : undefined;
}

/** @param file where the text is from, for messages */
export function chatTemplate(text: string, file: string): ChatTemplate {
  let template: Template;
  try {
    template = new Template(text);
  } catch (cause) {
    const message = `${file}: not a chat template: ${(cause as Error).message}`;
    throw new G2rpoError('INVALID_CHECKPOINT', message, { file }, { cause });
  }
  return {
    render(messages, { addGenerationPrompt = false, tools, addVisionId } = {}) {
      if (messages.length === 0) throw new G2rpoError('INVALID_PROMPT', 'prompt: messages must not be empty');
      try {
        return template.render({
          messages: messages.map(withoutSources),
          add_generation_prompt: addGenerationPrompt,
          ...(tools && { tools }),
          ...(addVisionId !== undefined && { add_vision_id: addVisionId }),
        });
      } catch (cause) {
        throw new G2rpoError(
          'INVALID_PROMPT',
          `prompt: ${file} refuses it: ${(cause as Error).message}`,
          { file },
          { cause },
        );
      }
    },
  };
}

function withoutSources({ content, ...message }: Message): object {
  if (!Array.isArray(content)) return { ...message, content: content ?? '' };
  return { ...message, content: content.map(withoutSource) };
}

const withoutSource = (part: ContentPart): object =>
  part.type === 'image' || part.type === 'video' ? { type: part.type } : part;
