import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedPrompt } from '../../../lib/model/qwen3vl/encodePrompt.ts';
import { Policy, type Generated, type SamplingRequest } from '../../../lib/model/qwen3vl/policy.ts';
import { bitsOf } from '../../support/askedPrompts.ts';
import { wantCpu } from '../../support/onCpu.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

const ROWS = 'on a GPU the bits of a product depend on how many rows it has';

/** Whole numbers from 0 below n, the same ones every time. */
function numbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return Math.floor(((state >>> 0) / 2 ** 32) * n);
  };
}

interface Ended {
  length: number;
  by: string | undefined;
}

/** Where a response ends and by which string: looked for in all texts that it has been, token by token. */
function reference(policy: Policy, { tokens }: Generated, strings: readonly string[]): Ended {
  for (let length = 1; length <= tokens.length; length++) {
    const text = policy.tokenizer.decode(tokens.subarray(0, length), { skipSpecial: true });
    const ends = strings.map((each) => (text.includes(each) ? text.indexOf(each) + each.length : Infinity));
    const first = Math.min(...ends);
    if (first < Infinity) return { length, by: strings[ends.indexOf(first)] };
  }
  return { length: tokens.length, by: undefined };
}

/** The same response, as far as it goes. */
const cut = ({ tokens, logProbs, entropy }: Generated, { length, by }: Ended): Generated => ({
  ...{ tokens: tokens.slice(0, length), logProbs: logProbs.slice(0, length), entropy: entropy.slice(0, length) },
  finish: by === undefined ? 'length' : 'stop',
});

describe.each(['nano', 'tiny'] as const)(
  'strings in responses of %s, whose tokens are bytes and pieces of words',
  (name) => {
    let policy: Policy;
    let request: SamplingRequest;
    let whole: Generated[];
    let texts: string[][];
    const submit = (more: Partial<SamplingRequest>) => policy.submit({ ...request, ...more });
    beforeAll(async () => {
      policy = await Policy.load(await writeGoldenCheckpoint(name), { trained: false });
      const prompt: EncodedPrompt = await policy.encode([{ type: 'text', text: 'Hm?' }]);
      request = { prompt, n: 24, maxTokens: 60, stopIds: [], temperature: 1.2, seed: 3 };
      whole = await policy.submit(request);
      texts = whole.map(({ tokens }) => [...policy.tokenizer.decode(tokens, { skipSpecial: true })]);
    });
    afterAll(() => policy.dispose());

    /** A piece of a text that is none of what bytes become that are no UTF-8. */
    function someString(below: (n: number) => number): string {
      for (;;) {
        const text = texts[below(texts.length)]!;
        const from = below(text.length);
        const piece = text.slice(from, from + 1 + below(6)).join('');
        if (piece !== '' && !piece.includes('\uFFFD')) return piece;
      }
    }

    it('end them where an obvious search says, and leave every other bit as it is', async ({ skip }) => {
      wantCpu(skip, ROWS);
      const below = numbers(7);
      for (let round = 0; round < 30; round++) {
        const strings = Array.from({ length: 1 + below(3) }, () => (below(4) === 0 ? 'never' : '') + someString(below));
        const ended = await submit({ stopStrings: strings });
        const wanted = whole.map((each) => reference(policy, each, strings));
        expect(
          ended.map(({ stoppedBy }) => stoppedBy),
          strings.join(' | '),
        ).toEqual(wanted.map(({ by }) => by));
        expect(bitsOf(ended)).toEqual(bitsOf(whole.map((each, i) => cut(each, wanted[i]!))));
      }
    });

    it('also characters that come in several tokens', async ({ skip }) => {
      wantCpu(skip, ROWS);
      const characters = new Set(texts.flat().filter((each) => each > '\x7F' && each !== '\uFFFD'));
      const whole1 = (text: string) =>
        whole.some(({ tokens }) => [...tokens].some((id) => policy.tokenizer.decode([id]) === text));
      const split = [...characters].filter((each) => !whole1(each));
      if (name === 'nano') expect(split.length).toBeGreaterThan(3);
      for (const character of split.slice(0, 12)) {
        const ended = await submit({ stopStrings: [character] });
        const wanted = whole.map((each) => reference(policy, each, [character]));
        expect(wanted.some(({ by }) => by !== undefined)).toBe(true);
        expect(
          ended.map(({ tokens }) => tokens.length),
          character,
        ).toEqual(wanted.map(({ length }) => length));
      }
    });
  },
);

describe('a string', () => {
  let policy: Policy;
  let prompt: EncodedPrompt;
  beforeAll(async () => {
    policy = await Policy.load(await writeGoldenCheckpoint('nano'), { trained: false });
    prompt = await policy.encode([{ type: 'text', text: 'Hm?' }]);
  });
  afterAll(() => policy.dispose());
  const ask = async (more: Partial<SamplingRequest> = {}, of = policy) =>
    await of.submit({ prompt, n: 8, maxTokens: 40, stopIds: [], temperature: 1.2, seed: 5, ...more });
  const textOf = ({ tokens }: Generated) => policy.tokenizer.decode(tokens, { skipSpecial: true });

  it('stays in the response, with what its last token says behind it', async ({ skip }) => {
    wantCpu(skip, ROWS);
    const [whole] = await ask();
    // a string that ends inside a token of several letters
    const at = [...whole!.tokens].findIndex((id, i) => i > 3 && /^[a-z ]{2,}$/i.test(policy.tokenizer.decode([id])));
    expect(at).toBeGreaterThan(0);
    const before = policy.tokenizer.decode(whole!.tokens.slice(0, at), { skipSpecial: true });
    const piece = policy.tokenizer.decode([whole!.tokens[at]!]);
    const string = before.slice(-1).replace('\uFFFD', '') + piece.slice(0, -1);
    const [ended] = await ask({ stopStrings: [string] });
    expect(ended).toMatchObject({ finish: 'stop', stoppedBy: string });
    expect(textOf(ended!)).toContain(string);
  });

  it('comes behind ids and sequences that the same token completes, and says which it was', async () => {
    const [whole] = await ask({ n: 1 });
    const [a, b] = [whole!.tokens[11]!, whole!.tokens[12]!];
    const string = policy.tokenizer.decode([b]);
    if (string.includes('\uFFFD')) expect.unreachable('another seed is wanted');
    const first = whole!.tokens.indexOf(b);
    const by = async (more: Partial<SamplingRequest>) => {
      const [ended] = await ask({ n: 1, ...more });
      return [ended!.stoppedBy, ended!.tokens.length];
    };
    expect(await by({ stopIds: [b], stopStrings: [string] })).toEqual([b, first + 1]);
    expect(await by({ stopSequences: [[b]], stopStrings: [string] })).toEqual([[b], first + 1]);
    const pair = whole!.tokens.findIndex((id, i) => id === a && whole!.tokens[i + 1] === b);
    expect(await by({ stopSequences: [[a, b]] })).toEqual([[a, b], pair + 2]);
    expect(await by({ maxTokens: 5 })).toEqual([undefined, 5]);
  });

  it('is found across what a small cache has put off', async ({ skip }) => {
    wantCpu(skip, ROWS);
    const engine = { pageTokens: 4, cacheMb: 0 };
    const { layers, kvHeads, headDim } = policy.config.text;
    engine.cacheMb = ((Math.ceil(prompt.inputIds.length / 4) + 14) * 4 * 8 * layers * kvHeads * headDim * 1.0001) / 1e6;
    const small = await Policy.load(policy.dir, { trained: false, engine });
    const whole = await ask();
    for (const string of [...textOf(whole[3]!)].filter((each) => each !== '\uFFFD').slice(5, 9)) {
      const found = await ask({ stopStrings: [string] });
      const late = await ask({ stopStrings: [string] }, small);
      expect(late.map(({ stoppedBy }) => stoppedBy)).toEqual(found.map(({ stoppedBy }) => stoppedBy));
      expect(bitsOf(late)).toEqual(bitsOf(found));
    }
    small.dispose();
  });

  it.each<[string, unknown, RegExp]>([
    ['of no characters', ['a', ''], /generate: stopStrings\[1\] must be a text of at least one character; got ""/],
    ['that is none', [3], /generate: stopStrings\[0\] must be a text .*; got 3/],
    ['of half a character', ['\uD800'], /generate: stopStrings\[0\] must be text without lone surrogates; got /],
    ['by itself, not in a list', 'abc', /generate: stopStrings must be a list; got "abc"/],
  ])('%s is refused', async (_, stopStrings, message) => {
    await expect(ask({ stopStrings: stopStrings as string[] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
});
