import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chatTemplate, loadChatTemplate, type Message } from '../../../lib/model/qwen3vl/chatTemplate.ts';
import { loadTokenizer } from '../../../lib/model/qwen3vl/tokenizer.ts';
import { goldenJson, goldenPath } from '../../support/goldenModel.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

interface Conversation {
  name: string;
  messages: Message[];
  kwargs: { tools?: unknown[]; add_vision_id?: boolean };
  rendered: string;
  with_generation_prompt: string;
  ids_rendered: Record<'tiny' | 'nano', number[]>;
  ids_with_generation_prompt: Record<'tiny' | 'nano', number[]>;
}
const { conversations } = goldenJson<{ conversations: Conversation[] }>('cases/chat.json');

/** The one number of the golden conversations that JSON.parse cannot keep (2.0) is given as text, as the API asks for. */
function keepingFloats(messages: Message[]): Message[] {
  return messages.map((message) => {
    const calls = message.tool_calls?.map((call) => {
      if (!('function' in call) || (call.function.arguments as { scale?: number }).scale !== 2) return call;
      const text = '{"box": [1, 2, 30, 40], "scale": 2.0, "why": "zu klein – ß", "keep": false, "next": null}';
      return { function: { name: call.function.name, arguments: text } };
    });
    return { ...message, ...(calls && { tool_calls: calls }) };
  });
}

describe('golden conversations', async () => {
  const template = await loadChatTemplate(goldenPath('checkpoints/tiny'));
  const tokenizers = {
    tiny: await loadTokenizer(goldenPath('checkpoints/tiny')),
    nano: await loadTokenizer(goldenPath('checkpoints/nano')),
  };
  it.each(conversations.map((c) => [c.name, c] as const))('%s', (_, conversation) => {
    const { tools, add_vision_id: addVisionId } = conversation.kwargs;
    const options = { ...(tools && { tools }), ...(addVisionId !== undefined && { addVisionId }) };
    const messages = keepingFloats(conversation.messages);
    const rendered = template.render(messages, options);
    const prompted = template.render(messages, { ...options, addGenerationPrompt: true });
    expect(rendered).toBe(conversation.rendered);
    expect(prompted).toBe(conversation.with_generation_prompt);
    for (const name of ['tiny', 'nano'] as const) {
      expect([...tokenizers[name].encode(rendered)]).toEqual(conversation.ids_rendered[name]);
      expect([...tokenizers[name].encode(prompted)]).toEqual(conversation.ids_with_generation_prompt[name]);
    }
  });

  it('renders a null answer beside tool calls as no text', () => {
    const call = { function: { name: 'now', arguments: '{}' } };
    const answer = (content: string | null): Message[] => [{ role: 'assistant', content, tool_calls: [call] }];
    expect(template.render(answer(null))).toBe(template.render(answer('')));
  });

  it('refuses an empty conversation', () => {
    expect(thrownBy(() => template.render([])).code).toBe('INVALID_PROMPT');
  });
});

describe('where it is found', () => {
  const folder = (files: Record<string, string>) => {
    const dir = mkdtempSync(join(tmpdir(), 'g2rpo-'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    return dir;
  };
  const hello: Message[] = [{ role: 'user', content: 'hello' }];
  const json = (template: unknown) => JSON.stringify({ chat_template: template });
  it.each([
    ['jinja', { 'chat_template.jinja': 'J', 'chat_template.json': json('T'), 'tokenizer_config.json': json('C') }, 'J'],
    ['json', { 'chat_template.json': json('T'), 'tokenizer_config.json': json('C') }, 'T'],
    ['tokenizer_config', { 'tokenizer_config.json': json('C {{ messages[0].content }}') }, 'C hello'],
    ['a list of them', { 'tokenizer_config.json': json([{ name: 'default', template: 'D' }]) }, 'D'],
  ])('%s', async (_, files, text) => {
    expect((await loadChatTemplate(folder(files as Record<string, string>))).render(hello)).toBe(text);
  });

  it('nowhere', async () => {
    const error = await rejectionOf(loadChatTemplate(folder({ 'tokenizer_config.json': '{}' })));
    expect(error.code).toBe('INVALID_CHECKPOINT');
  });

  it('not Jinja, or refusing what it is given', () => {
    expect(thrownBy(() => chatTemplate('{% for %}', 'a.jinja')).message).toMatch(/^a\.jinja: not a chat template/);
    const picky = chatTemplate('{{ raise_exception("roles must alternate") }}', 'a.jinja');
    const error = thrownBy(() => picky.render(hello));
    expect(error.code).toBe('INVALID_PROMPT');
    expect(error.message).toMatch(/roles must alternate/);
  });
});
