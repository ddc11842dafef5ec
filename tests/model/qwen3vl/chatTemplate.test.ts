import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chatTemplate, loadChatTemplate, type Message } from '../../../lib/model/qwen3vl/chatTemplate.ts';
import { goldenPath, testGolden } from '../../support/goldenModel.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

testGolden('cases/chat.json');

describe('messages', async () => {
  const template = await loadChatTemplate(goldenPath('checkpoints/tiny'));

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
