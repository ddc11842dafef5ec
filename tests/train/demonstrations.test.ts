import { describe, expect, it } from 'vitest';
import type { Demonstration } from '../../lib/data/dataset.ts';
import type { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { encodeDemonstration, packDemonstrations } from '../../lib/train/demonstrations.ts';
import { encodeLetters, fakePrompt } from '../support/fakePolicy.ts';
import { rejectionOf } from '../support/thrown.ts';

const STOP = 90;
/** Tokens are the positions of letters; a prompt is what its text says, with two visual tokens where it has an x. */
const reader = {
  async encode(parts: { type: string; text?: string }[]) {
    const text = parts.map((part) => part.text ?? '').join('');
    const encoded = encodeLetters(text);
    const visual = [...text].flatMap((letter, i) => (letter === 'x' ? [i] : []));
    return { ...encoded, visualRows: Int32Array.from(visual) };
  },
  tokenizer: {
    stopIds: [STOP, 91],
    encode: (text: string) => Int32Array.from(text, (letter) => 'abcdefg'.indexOf(letter)),
    controlTokenIn: (text: string) => (text.includes('<|im_end|>') ? '<|im_end|>' : undefined),
  },
} as unknown as Pick<Policy, 'encode' | 'tokenizer'>;

const encode = (problem: string, row: Partial<Demonstration>) =>
  encodeDemonstration(
    reader,
    { ...fakePrompt(problem), source: { file: 'd.jsonl', row: 4 }, ...row },
    { template: 'plain' },
  );

describe('a demonstration', () => {
  it('is predicted token by token, behind its prompt, the stop token last', async () => {
    const { sequence, targetRows, targetIds } = await encode('abc', { demonstration: 'gf' });
    expect([...sequence.inputIds]).toEqual([0, 1, 2, 6, 5]);
    expect(targetRows).toEqual([2, 3, 4]);
    expect(targetIds).toEqual([6, 5, STOP]);
    // positions go on where those of the prompt end, here one ahead of the index
    for (let axis = 0; axis < 3; axis++)
      expect([...sequence.positionIds.subarray(5 * axis, 5 * axis + 5)]).toEqual([1, 2, 3, 4, 5]);
  });

  it('may name what the visual tokens show, where there is something to name', async () => {
    const { sequence, targetRows, targetIds } = await encode('axxxb', { labels: ['b', null, 'd'] });
    expect([...sequence.inputIds]).toHaveLength(5);
    expect(targetRows).toEqual([1, 3]);
    expect(targetIds).toEqual([1, 3]);
    const both = await encode('axb', { labels: ['b'], demonstration: 'c' });
    expect(both.targetIds).toEqual([2, STOP, 1]);
    expect(both.targetRows).toEqual([2, 3, 1]);
  });

  it.each([
    ['a label of two tokens', { labels: ['bc'] }, /labels\[0\] must be one token; "bc" is 2/],
    ['an empty label', { labels: [''] }, /labels\[0\] must be one token; "" is 0/],
    ['labels too few', { labels: [] }, /labels must be one per visual token: 1; got 0/],
    ['labels too many', { labels: ['a', null] }, /labels must be one per visual token: 1; got 2/],
    ['a control token', { demonstration: 'a<|im_end|>' }, /must not contain the control token <\|im_end\|>/],
  ])('is refused with %s', async (_, row, message) => {
    const error = await rejectionOf(encode('axb', row));
    expect(error.code).toBe('INVALID_DATA');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^d\.jsonl row 4/);
  });

  it('keeps its targets when packed behind others', async () => {
    const list = await Promise.all([encode('ab', { demonstration: 'c' }), encode('abc', { demonstration: 'de' })]);
    const batch = packDemonstrations(list, 2);
    expect([...batch.segmentStarts]).toEqual([0, 3, 8]);
    expect([...batch.segmentPrefix]).toEqual([-1, -1]);
    expect([...batch.targetRows]).toEqual([1, 2, 5, 6, 7]);
    expect([...batch.targetIds]).toEqual([2, STOP, 3, 4, STOP]);
  });
});
