import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyMerges, learnMerges } from '../../../lib/data/gallery/bpe.ts';
import { sampleScene } from '../../../lib/data/gallery/sample.ts';
import { buildTokenizer } from '../../../lib/data/gallery/tokenizer.ts';
import { singleTokenWords, tokenizerCorpus } from '../../../lib/data/gallery/words.ts';
import { loadChatTemplate } from '../../../lib/model/qwen3vl/chatTemplate.ts';
import { loadTokenizer } from '../../../lib/model/qwen3vl/tokenizer.ts';

const built = buildTokenizer();
const parsed = (name: string): object => JSON.parse(built.files[name]!) as object;
const { vocab, merges: learned } = (
  parsed('tokenizer.json') as { model: { vocab: object; merges: [string, string][] } }
).model;
const tokenizer = new Tokenizer(parsed('tokenizer.json'), parsed('tokenizer_config.json'));
const encode = (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids;
const decode = (ids: number[]): string => tokenizer.decode(ids, { skip_special_tokens: false });

describe('the merges', () => {
  it('take the most frequent pair, and the first of equals', () => {
    expect(learnMerges(['abab', 'cd cd'], [], 9)).toEqual([
      ['a', 'b'], // 2, as 'c d' is
      ['c', 'd'],
    ]);
    expect(learnMerges(['aaaa aaaa'], [], 1)).toEqual([['a', 'a']]);
  });

  it('make the words one token before anything else', () => {
    const merges = learnMerges(['zzzz zzzz zzzz zzzz'], ['red', ' red'], 3);
    expect(applyMerges(' red', merges)).toEqual(['Ġred']);
  });
});

describe('the tokenizer', () => {
  it('has at most 512 ids, and is always the same', () => {
    expect(built.size).toBeLessThanOrEqual(512);
    expect(buildTokenizer().files).toEqual(built.files);
    expect(vocab).toEqual(parsed('vocab.json'));
    expect(new Set([...Object.values(parsed('vocab.json')), ...Object.values(built.ids)]).size).toBe(built.size);
  });

  it('has one token for each word that needs it, and for each tag', () => {
    for (const word of singleTokenWords) expect(encode(word), word).toHaveLength(1);
    for (const [name, id] of Object.entries(built.ids)) expect(encode(name)).toEqual([id]);
  });

  it('gives every text back', () => {
    for (const text of tokenizerCorpus()) expect(decode(encode(text))).toBe(text);
    for (const text of ['Grüße, 42 × 7 = 294!\r\n', '你好，世界', "It's 3 o'clock\n\n  now", '🙂'])
      expect(decode(encode(text))).toBe(text);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (text) => {
        expect(decode(encode(text))).toBe(text.normalize('NFC'));
      }),
      { numRuns: 200 },
    );
  });

  it('agrees with its own merges', () => {
    for (const word of ['Colour', ' tallest', ' shape', 'Compute', ' zebra', 'boxes'])
      expect(tokenizer.tokenize(word)).toEqual(applyMerges(word, learned));
  });

  it('keeps prompts and responses short', () => {
    const scene = (task: 'grounding' | 'vqa'): ReturnType<typeof sampleScene> =>
      sampleScene({ seed: 1, stream: 'short', part: 'train', task, index: 0 }, { 1: 1 });
    const box = scene('grounding');
    expect(encode(`<think>${box.thought}</think><answer>${box.answer}</answer>`).length).toBeLessThanOrEqual(31);
    expect(encode(scene('vqa').question).length).toBeLessThanOrEqual(6);
  });

  it('refuses words that cannot be one token', () => {
    const refusal = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    expect(() => buildTokenizer({ words: ['two words'] })).toThrow(refusal);
    expect(() => buildTokenizer({ vocabSize: 300 })).toThrow(refusal);
    expect(applyMerges('heliotrope', learned).length).toBeGreaterThan(1);
    const { files } = buildTokenizer({ words: ['heliotrope'] });
    expect(files['vocab.json']).toContain('"heliotrope"');
  });
});

describe('the files', () => {
  it('make a folder that the policy can read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
    try {
      for (const [name, text] of Object.entries(built.files)) await writeFile(join(folder, name), text);
      const loaded = await loadTokenizer(folder);
      expect(loaded.stopIds).toContain(built.ids['<|im_end|>']);
      expect(loaded.size).toBe(built.size);
      expect([...loaded.encode('<think>red 2 3</think><answer>A</answer>')]).toEqual(
        encode('<think>red 2 3</think><answer>A</answer>'),
      );
      const template = await loadChatTemplate(folder);
      const content = [
        { type: 'image' as const, image: 'one.png' },
        { type: 'text' as const, text: 'Compute.' },
      ];
      expect(
        template.render(
          [
            { role: 'system', content: 'Look.' },
            { role: 'user', content },
          ],
          { addGenerationPrompt: true },
        ),
      ).toBe(
        '<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Compute.<|im_end|>\n<|im_start|>assistant\n',
      );
      const refusal = expect.objectContaining({ code: 'INVALID_PROMPT' });
      expect(() => template.render([{ role: 'tool', content: '4' }])).toThrow(refusal);
      expect(() => template.render([{ role: 'user', content }], { tools: [{}] })).toThrow(refusal);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
