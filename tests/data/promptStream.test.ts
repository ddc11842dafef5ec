import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPromptStream } from '../../lib/data/promptStream.ts';
import type { Prompt } from '../../lib/types.ts';

const prompts = (n: number, taskOf: (i: number) => string = () => 'other'): Prompt[] =>
  Array.from({ length: n }, (_, i) => ({
    source: { file: 'rows.jsonl', row: i + 1 },
    problem: `p${i}`,
    images: [`/data/${i}.png`],
    problemType: 'math',
    taskType: taskOf(i),
    options: [],
    answer: String(i),
    extra: {},
  }));
const rows = (drawn: Prompt[]) => drawn.map(({ source }) => source.row);

describe('createPromptStream', () => {
  it('visits every prompt once an epoch, in an order that the seed and the epoch decide', () => {
    const stream = createPromptStream(prompts(50), { seed: 7 });
    const [first, second] = [rows(stream.next(50)), rows(stream.next(50))];
    const sorted = Array.from({ length: 50 }, (_, i) => i + 1);
    expect([...first].sort((a, b) => a - b)).toEqual(sorted);
    expect([...second].sort((a, b) => a - b)).toEqual(sorted);
    expect(first).not.toEqual(second);
    expect(first).not.toEqual(sorted);
    expect(rows(createPromptStream(prompts(50), { seed: 7 }).next(100))).toEqual([...first, ...second]);
    expect(rows(createPromptStream(prompts(50), { seed: 8 }).next(50))).not.toEqual(first);
  });

  it('keeps an order that is written down', () =>
    expect(rows(createPromptStream(prompts(8), { seed: 1 }).next(16))).toMatchInlineSnapshot(`
      [
        1,
        7,
        3,
        5,
        6,
        4,
        8,
        2,
        2,
        5,
        4,
        3,
        7,
        8,
        6,
        1,
      ]
    `));

  it('goes on where a state was taken, over ends of epochs, whatever the sizes of the draws', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sizes, sizes, fc.boolean(), fc.boolean(), (before, after, shuffle, taskBalance) => {
        const options = { seed: 3, shuffle, taskBalance };
        const data = prompts(7, (i) => (i < 5 ? 'ocr' : 'other'));
        const stream = createPromptStream(data, options);
        for (const n of before) stream.next(n);
        const resumed = createPromptStream(data, options);
        resumed.next(4);
        resumed.restore(JSON.parse(JSON.stringify(stream.state())));
        for (const n of after) expect(rows(resumed.next(n))).toEqual(rows(stream.next(n)));
      }),
    );
  });

  it('keeps the order of the dataset without shuffling, and wraps', () => {
    const stream = createPromptStream(prompts(3), { seed: 0, shuffle: false });
    expect(rows(stream.next(7))).toEqual([1, 2, 3, 1, 2, 3, 1]);
    expect(stream.epoch()).toBe(2);
    expect(rows(createPromptStream(prompts(1), { seed: 0 }).next(3))).toEqual([1, 1, 1]);
  });

  it('gives every task type an equal share of every draw', () => {
    const data = prompts(100, (i) => (i < 90 ? 'ocr' : i < 98 ? 'math_reasoning' : 'other'));
    const stream = createPromptStream(data, { seed: 5, taskBalance: true });
    for (const n of [12, 7, 30, 1, 4]) {
      const drawn = stream.next(n).map(({ taskType }) => taskType);
      const shares = ['ocr', 'math_reasoning', 'other'].map((task) => drawn.filter((t) => t === task).length);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
    }
    const small = rows(createPromptStream(data, { seed: 5, taskBalance: true }).next(24)).filter(
      (row) => row > 90 && row <= 98,
    );
    expect([...small].sort()).toEqual([91, 92, 93, 94, 95, 96, 97, 98]);
  });

  it('shuffles without favourites', () => {
    const counts = new Array<number>(5).fill(0);
    const stream = createPromptStream(prompts(5), { seed: 11 });
    for (let epoch = 0; epoch < 5000; epoch++) counts[rows(stream.next(5))[0]! - 1]!++;
    // 1000 expected, standard deviation 28: five of them
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(141);
  });

  it('refuses the state of another dataset, seed or order', () => {
    const state = createPromptStream(prompts(5), { seed: 1 }).state();
    const restore =
      (data: Prompt[], options: object, changed = {}) =>
      () =>
        createPromptStream(data, { seed: 1, ...options }).restore({ ...state, ...changed });
    const refused = (message: RegExp) =>
      expect.objectContaining({ code: 'INVALID_CHECKPOINT', message: expect.stringMatching(message) });
    expect(restore(prompts(6), {})).toThrow(
      refused(/^prompt stream: the state is of another dataset: wanted [0-9a-f]{64}; got/),
    );
    expect(
      restore(
        prompts(5).map((p) => ({ ...p, answer: 'x' })),
        {},
      ),
    ).toThrow(refused(/another dataset/));
    expect(restore(prompts(5), { seed: 2 })).toThrow(refused(/another seed: wanted 2; got 1$/));
    expect(restore(prompts(5), { shuffle: false })).toThrow(refused(/another shuffle: wanted false; got true$/));
    expect(restore(prompts(5), { taskBalance: true })).toThrow(refused(/another taskBalance/));
    expect(restore(prompts(5), {}, { drawn: -1 })).toThrow(refused(/drawn must be a whole number; got -1$/));
    const moved = prompts(5).map((p) => ({ ...p, images: p.images.map((image) => `/elsewhere${image}`) }));
    expect(restore(moved, {})).not.toThrow();
  });

  it('refuses what makes no sense', () => {
    expect(() => createPromptStream([], { seed: 1 })).toThrow(expect.objectContaining({ code: 'NO_PROMPTS' }));
    expect(() => createPromptStream(prompts(1), { seed: 0.5 })).toThrow(
      'prompt stream: seed must be a whole number; got 0.5',
    );
    expect(() => createPromptStream(prompts(1), { seed: 1 }).next(-1)).toThrow(
      /n must be a whole number of at least 0; got -1/,
    );
  });
});
