import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../../lib/model/qwen3vl/tokenizer.ts';
import { goldenJson, goldenPath, testGolden } from '../../support/goldenModel.ts';
import { rejectionOf } from '../../support/thrown.ts';

interface Golden {
  strings: { text: string; ids: Record<'nano', number[]> }[];
}
const golden = goldenJson<Golden>('cases/tokenizer.json');

testGolden('cases/tokenizer.json');

const streamed = (tokenizer: Tokenizer, ids: number[], skipSpecial: boolean) => {
  const stream = tokenizer.stream({ skipSpecial });
  return ids.map((id) => stream.push(id)).join('') + stream.end();
};

describe.each(['tiny', 'nano'] as const)('%s', async (name) => {
  const tokenizer = await loadTokenizer(goldenPath(`checkpoints/${name}`));

  it('knows what its files say', () => {
    const first = name === 'tiny' ? 998 : 294;
    expect(tokenizer.size).toBe(first + 26);
    expect(tokenizer.stopIds).toEqual([first + 2, first]);
    expect(tokenizer.idOf('<|image_pad|>')).toBe(first + 12);
    expect(tokenizer.idOf('<|no_such|>')).toBeUndefined();
    expect(tokenizer.controlTokenIn('a <think> b')).toBeUndefined();
    expect(tokenizer.controlTokenIn('a <|image_pad|> b')).toBe('<|image_pad|>');
  });

  it('any text in NFC comes back, whole or streamed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (raw) => {
        const text = raw.normalize('NFC');
        const ids = [...tokenizer.encode(text)];
        expect(tokenizer.decode(ids)).toBe(text);
        expect(streamed(tokenizer, ids, false)).toBe(text);
      }),
    );
  });
});

describe('streaming', async () => {
  const tokenizer = await loadTokenizer(goldenPath('checkpoints/nano'));

  it('holds an unfinished character back, and no longer', () => {
    const stream = tokenizer.stream();
    expect(Array.from(tokenizer.encode('a😀b'), (id) => stream.push(id))).toEqual(['a', '', '', '', '😀', 'b']);
    expect(stream.end()).toBe('');
  });

  it('ends within a character with one replacement, and says nothing of ids without text', () => {
    const stream = tokenizer.stream();
    const [first, second] = tokenizer.encode('😀');
    expect([first!, second!, 100_000].map((id) => stream.push(id))).toEqual(['', '', '']);
    expect(stream.end()).toBe('\ufffd');
  });
});

describe('unusable files', () => {
  const folderWith = (change: (dir: string) => void) => {
    const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'nano');
    cpSync(goldenPath('checkpoints/nano'), dir, { recursive: true });
    change(dir);
    return dir;
  };
  it.each<[string, (dir: string) => void, RegExp]>([
    ['missing', (dir) => rmSync(`${dir}/tokenizer.json`), /tokenizer.json: no such file/],
    ['not JSON', (dir) => writeFileSync(`${dir}/tokenizer.json`, '{"a'), /tokenizer.json: not JSON/],
    ['another model', (dir) => writeFileSync(`${dir}/tokenizer.json`, '{"model":{"type":"Unigram"}}'), /must be a BPE/],
    [
      'no stop token',
      (dir) => {
        rmSync(`${dir}/generation_config.json`);
        writeFileSync(`${dir}/tokenizer_config.json`, '{}');
      },
      /must have an eos_token_id, or tokenizer_config.json an eos_token/,
    ],
    [
      'a stop token of words',
      (dir) => writeFileSync(`${dir}/generation_config.json`, '{"eos_token_id":"end"}'),
      /got "end"/,
    ],
  ])('%s', async (_, change, message) => {
    const error = await rejectionOf(loadTokenizer(folderWith(change)));
    expect(error.code).toBe('INVALID_CHECKPOINT');
    expect(error.message).toMatch(message);
  });

  describe('merges', () => {
    type Merges = (string | [string, string])[];
    const withMerges = (change: (merges: [string, string][]) => unknown) =>
      folderWith((dir) => {
        const json = JSON.parse(readFileSync(`${dir}/tokenizer.json`, 'utf8')) as { model: { merges: Merges } };
        const pairs = json.model.merges.map((merge) =>
          typeof merge === 'string' ? (merge.split(' ') as [string, string]) : merge,
        );
        json.model.merges = change(pairs) as Merges;
        writeFileSync(`${dir}/tokenizer.json`, JSON.stringify(json));
      });
    const asTexts = (pairs: [string, string][]) => pairs.map((pair) => pair.join(' '));
    const third = (to: unknown) => (pairs: [string, string][]) => Object.assign([...pairs], { 3: to });

    it.each<[string, (pairs: [string, string][]) => unknown]>([
      ['pairs', (pairs) => pairs],
      ['texts', asTexts],
    ])('may be spelled as %s', async (_, change) => {
      const tokenizer = await loadTokenizer(withMerges(change));
      const { text, ids } = golden.strings.find((each) => each.ids.nano.length > 20)!;
      expect([...tokenizer.encode(text)]).toEqual(ids.nano);
    });

    const pair = /model\.merges\[3\] must be a pair of tokens, \["a", "b"\] or "a b", as the others are; got /;
    it.each<[string, (pairs: [string, string][]) => unknown, RegExp]>([
      ['missing', () => undefined, /model\.merges must be a list; got undefined/],
      ['three parts', third(['a', 'b', 'c']), pair],
      ['a number in a pair', third(['a', 1]), pair],
      ['no pair', third(7), pair],
      ['a text among pairs', third('a b'), pair],
      ['a text of one token', (pairs) => third('ab')(asTexts(pairs) as never), pair],
      ['a text of three tokens', (pairs) => third('a b c')(asTexts(pairs) as never), pair],
      ['a pair among texts', (pairs) => third(['a', 'b'])(asTexts(pairs) as never), pair],
      [
        'a part out of the vocabulary',
        third(['a', '汉']),
        /tokenizer\.json: model\.merges\[3\] must be of tokens of model\.vocab, which has no "汉"; got \["a","汉"\]/,
      ],
      ['a result out of the vocabulary', third(['Z', 'Q']), /merges\[3\] .* has no "ZQ"; got \["Z","Q"\]/],
    ])('are refused: %s', async (_, change, message) => {
      const error = await rejectionOf(loadTokenizer(withMerges(change)));
      expect(error.code).toBe('INVALID_CHECKPOINT');
      expect(error.message).toMatch(message);
    });
  });

  it('without generation_config.json the eos token stops', async () => {
    const tokenizer = await loadTokenizer(folderWith((dir) => rmSync(`${dir}/generation_config.json`)));
    expect(tokenizer.stopIds).toEqual([296]);
  });
});
