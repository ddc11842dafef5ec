import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { advantages } from '../../lib/index.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-advantages-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const command = (stdin: string, ...args: string[]) => g2rpo(['advantages', ...args], { stdin });
const lines = (rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const values = (stdout: string): unknown[] =>
  stdout.trim().split('\n').map((line) => (JSON.parse(line) as { advantage: unknown }).advantage); // prettier-ignore

const rows = [
  { reward: 1, group: 'a', task: 'math' },
  { reward: 0, group: 'b', task: 'ocr' },
  { reward: 0, group: 'a', task: 'math' },
  { reward: 3, group: 'b', task: 'ocr' },
];

it('gives every row back in its place, as it was written, with its advantage', async () => {
  const text =
    '{"group": "a", "reward": 1.0, "id": 12345678901234567890, "x": {"y": [1]}}\n\n{ "reward": 0,"group":"a" } \n';
  const { code, stdout } = await command(text, '--estimator', 'grpo', '--set', 'std=population', '--set', 'epsilon=0');
  expect(code).toBe(0);
  expect(stdout).toBe(
    '{"group": "a", "reward": 1.0, "id": 12345678901234567890, "x": {"y": [1]},"advantage":1}\n{ "reward": 0,"group":"a","advantage":-1}\n',
  );
});

it('says what the function says', async () => {
  const { stdout } = await command(lines(rows), '--set', 'mode=group');
  const batch = { rewards: [1, 0, 0, 3], groups: ['a', 'b', 'a', 'b'] };
  expect(values(stdout)).toEqual([...(await advantages('g2rpo', batch, { mode: 'group' }))]);
});

it('replaces an advantage that is there', async () => {
  const { stdout } = await command(lines(rows.map((row) => ({ advantage: 9, ...row }))), '--estimator', 'dr-grpo');
  expect(values(stdout)).toEqual([0.5, -1.5, -0.5, 1.5]);
});

it('has a list for an estimator over tokens, and takes components and greedy rewards', async () => {
  const long = rows.map((row, i) => ({ ...row, length: i, components: { accuracy: row.reward }, greedy_reward: 1 }));
  const tokens = await command(lines(long), '--estimator', 'reinforce++');
  expect(values(tokens.stdout).map((list) => (list as number[]).length)).toEqual([0, 1, 2, 3]);
  const remax = await command(lines(long), '--estimator', 'remax');
  expect(values(remax.stdout)).toEqual([0, -1, -1, 2]);
  const gdpo = await command(lines(long), '--estimator', 'gdpo', '--set', 'componentWeights={accuracy: 1}');
  expect((values(gdpo.stdout) as number[]).every(Number.isFinite)).toBe(true);
});

it('reads a file, and lists the estimators with their settings', async () => {
  const file = join(dir, 'batch.jsonl');
  writeFileSync(file, lines(rows));
  expect(values((await command('', file, '--estimator', 'rloo')).stdout)).toEqual([1, -3, -1, 3]);
  const { stdout } = await command('', '--list');
  for (const part of ['g2rpo: ranks', 'mode', '"group_then_task"', 'reinforce++-baseline', 'decay'])
    expect(stdout).toContain(part);
});

describe('a mistake is told with its line and field', () => {
  const good = '{"reward": 1, "group": "a"}\n{"reward": 0, "group": "a"}\n';
  it.each([
    [`${good}\n{"reward": "x", "group": "a"}\n`, [], 'standard input:4: reward must be a number; got "x"'],
    [`${good}{"reward": NaN, "group": "a"}\n`, [], 'standard input:3: reward must be a number; got NaN'],
    [`${good}{"group": "a"}\n`, [], 'standard input:3: reward must be a number; got none'],
    [`${good}{"reward": 1}\n`, [], 'standard input:3: group must be text or a number; got none'],
    [`${good}{"reward": 1, "group": "a", "task": "t"}\n`, [], ':3: task must be absent, as in the rows before'],
    [`${good}[1]\n`, [], 'standard input:3: must be an object; got [1]'],
    [`${good}{"reward": 1,\n`, [], 'standard input:3: not JSON'],
    [`${good}{"reward": 1, "group": "b"}\n`, ['--estimator', 'grpo'], ':3: group must give every group at least two'],
    ['{"reward": Infinity, "group": 1}\n', ['--estimator', 'rloo'], ':1: reward must be finite; got Infinity'],
    [lines([{ ...rows[0] }, { ...rows[2], task: 'x' }]), [], 'standard input:2: task must be the same for all'],
    [
      `${good}{"reward": 1, "group": 1.5}\n`,
      [],
      'standard input:3: group must be text or a whole number below 2⁵³; got 1.5',
    ],
    [good, ['--estimator', 'reinforce++'], 'no row has length, which the estimator needs'],
    [good, ['--estimator', 'grpoo'], 'did you mean grpo?'],
    [good, ['--set', 'mod=task'], 'g2rpo: no setting mod; did you mean mode?'],
    [good, ['--set', 'mode=tsak'], 'g2rpo: mode: '],
    [good, ['--set', 'mode'], '--set must be KEY=VALUE; got mode'],
    [good, ['--set', 'mode=['], '--set mode: the value must be YAML; got [ ('],
    ['', [], 'INVALID_DATA  standard input: rows like {"reward": 1, "group": "a"}, one a line, were wanted; got none'],
    ['\n  \n', [], 'standard input: rows like'],
    ['\0\u0001\ufffd', [], 'standard input:1: not JSON'],
  ])('%j %j', async (stdin, args, message) => {
    const { code, stdout, stderr } = await command(stdin, ...args);
    expect(code).not.toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
  });
});

it('a file that is none is named', async () => {
  for (const [file, why] of [
    [join(dir, 'none.jsonl'), 'ENOENT'],
    [dir, 'EISDIR'],
  ] as const) {
    const { code, stderr } = await command('', file);
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^g2rpo: IO  ${file}: ${why}`));
  }
  const empty = join(dir, 'empty.jsonl');
  writeFileSync(empty, '');
  expect(await command('', empty)).toMatchObject({ code: 1, stderr: expect.stringContaining(`${empty}: rows like`) });
});

it('takes infinite rewards where only the order matters, and says so', async () => {
  const text = '{"reward": Infinity, "group": 1}\n{"reward": -Infinity, "group": 1}\n{"reward": 0, "group": 1}\n';
  const { code, stdout } = await command(text);
  expect(code).toBe(0);
  const [above, below, between] = [...stdout.matchAll(/"advantage":([^}]+)/g)].map((match) => Number(match[1])) as [number, number, number]; // prettier-ignore
  expect([above > between, between > below]).toEqual([true, true]);
  expect((await command(text, '--help')).stdout).toContain('one may be Infinity or -Infinity');
});

it('compares 10⁵ rollouts in well under 2 s', async () => {
  const text = lines(Array.from({ length: 1e5 }, (_, i) => ({ reward: (i * 7919) % 11, group: `g${i >> 3}`, task: `t${(i >> 3) % 13}` }))); // prettier-ignore
  const begin = performance.now();
  const { stdout } = await command(text);
  expect(performance.now() - begin).toBeLessThan(2000);
  expect(stdout.split('\n')).toHaveLength(1e5 + 1);
});
