import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewardRunner } from '../../lib/rewards/index.ts';
import type { RewardInput } from '../../lib/types.ts';

const prompt = { problem: '', images: [], problemType: 'math', taskType: 'other', options: [], answer: '7', extra: {} };
function input(response: string, row: number): RewardInput {
  return { response, answer: '7', problemType: 'math', prompt: { ...prompt, source: { file: 'rows.jsonl', row } } };
}
const inputs = (...responses: string[]) => responses.map((response, i) => input(response, i + 1));

const MODULE = `
export default async function (input) {
  switch (input.response) {
    case 'hang': for (;;);
    case 'wait': return new Promise(() => {});
    case 'throw': throw new Error('no such tool');
    case 'nan': return NaN;
    case 'text': return 'good';
    case 'nothing': return undefined;
    case 'exit': process.exit(3);
    case 'all': return { overall: -2.5, accuracy: 0.5, format: 1 };
    case 'half': return { accuracy: 0.5, format: 1 };
    case 'loose': setTimeout(() => { throw new Error('loose end'); }, 0); return new Promise(() => {});
  }
  return input.response === input.answer ? 1 : 0;
}`;

let folder: string;
const file = (name: string, text: string) => {
  writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
};
beforeAll(() => void (folder = mkdtempSync(path.join(tmpdir(), 'rewards-'))));
afterAll(() => rmSync(folder, { recursive: true }));

describe('a module of rewards', () => {
  it('is scored in threads, and what goes wrong has a reason and a row', async () => {
    const runner = await createRewardRunner({ file: file('reward.mjs', MODULE), timeoutMs: 300, concurrency: 2 });
    const scored = await runner.score(
      inputs('7', '8', 'hang', 'throw', 'nan', 'text', 'nothing', 'exit', 'all', 'half', 'wait', 'loose', '7'),
    );
    await runner.close();
    expect(scored).toEqual([
      { overall: 0.9, accuracy: 1, format: 0 },
      { overall: 0, accuracy: 0, format: 0 },
      { failed: 'rows.jsonl row 3: the reward function took longer than 300 ms' },
      { failed: 'rows.jsonl row 4: the reward function threw: no such tool' },
      { failed: 'rows.jsonl row 5: the reward function must return accuracy in [0, 1]; got NaN' },
      { failed: 'rows.jsonl row 6: the reward function must return a number or a Reward; got string' },
      { failed: 'rows.jsonl row 7: the reward function must return a number or a Reward; got undefined' },
      { failed: 'rows.jsonl row 8: the reward function ended its thread with code 3' },
      { overall: -2.5, accuracy: 0.5, format: 1 },
      { failed: 'rows.jsonl row 10: the reward function must return a finite overall; got undefined' },
      { failed: 'rows.jsonl row 11: the reward function took longer than 300 ms' },
      { failed: 'rows.jsonl row 12: the reward function ended its thread: loose end' },
      { overall: 0.9, accuracy: 1, format: 0 },
    ]);
  });

  it('may be TypeScript', async () => {
    const text = `interface Input { response: string }
      export default (input: Input): number => (input.response satisfies string).length / 4;`;
    const runner = await createRewardRunner({ file: file('reward.ts', text), timeoutMs: 5000, concurrency: 1 });
    expect(await runner.score(inputs('ab'))).toEqual([{ overall: 0.45, accuracy: 0.5, format: 0 }]);
    await runner.close();
    expect(await runner.score(inputs('ab'))).toEqual([{ failed: 'rows.jsonl row 1: rewards: the runner was closed' }]);
  });

  it.each([
    ['none.ts', undefined, /^rewards\.file: no such file: .*none\.ts$/],
    ['syntax.mjs', 'export default (', /^rewards\.file: .*syntax\.mjs could not be loaded: /],
    [
      'number.mjs',
      'export default 3',
      /number\.mjs could not be loaded: its default export must be a function; got number$/,
    ],
    [
      'named.ts',
      'export const reward = () => 1',
      /named\.ts could not be loaded: its default export must be a function; got/,
    ],
    ['throws.mjs', 'throw new Error("no key")', /throws\.mjs could not be loaded: no key$/],
  ])('is refused at once if it cannot be loaded: %s', async (name, text, message) => {
    const absolute = text === undefined ? path.join(folder, name) : file(name, text);
    await expect(createRewardRunner({ file: absolute })).rejects.toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringMatching(message) }),
    );
  });
});

describe('a function of this process', () => {
  it('is called with a deadline on its promise', async () => {
    const runner = await createRewardRunner({
      timeoutMs: 50,
      fn: ({ response }) => {
        if (response === 'throw') throw new Error('no such tool');
        return response === 'wait' ? new Promise(() => undefined) : Number(response);
      },
    });
    expect(await runner.score(inputs('0.5', 'throw', 'wait', 'x', '2'))).toEqual([
      { overall: 0.45, accuracy: 0.5, format: 0 },
      { failed: 'rows.jsonl row 2: the reward function threw: no such tool' },
      { failed: 'rows.jsonl row 3: the reward function took longer than 50 ms' },
      { failed: 'rows.jsonl row 4: the reward function must return accuracy in [0, 1]; got NaN' },
      { failed: 'rows.jsonl row 5: the reward function must return accuracy in [0, 1]; got 2' },
    ]);
  });

  it('may be left out: then the built-in rewards score, and a bad row is named', async () => {
    const runner = await createRewardRunner();
    const bad = { ...input('7', 2), problemType: 'numerical', answer: 'seven' };
    expect(await runner.score([input('7', 1), bad])).toEqual([
      { overall: 0.9, accuracy: 1, format: 0 },
      { failed: 'rows.jsonl row 2: numerical: the ground truth must be a number; got "seven"' },
    ]);
    expect(await runner.score([])).toEqual([]);
  });

  it.each([
    [{ fn: () => 1, file: 'a.ts' }, 'rewards: give either a file or a function; got both'],
    [{ timeoutMs: 0 }, 'rewards: timeoutMs must be in (0, 2^31); got 0'],
    [{ concurrency: 1.5 }, 'rewards: concurrency must be a positive integer; got 1.5'],
    [{ formatWeight: -1 }, 'rewards: formatWeight must be in [0, 1]; got -1'],
  ])('refuses options that make no sense', async (options, message) => {
    await expect(createRewardRunner(options)).rejects.toThrow(message);
  });
});
