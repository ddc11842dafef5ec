import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReporter } from '../../lib/report/reporter.ts';
import { createTerminal } from '../../lib/report/terminal.ts';
import { validationTable } from '../../lib/report/validationTable.ts';
import type { ScoredRollout, ValidationReport, ValidationScore } from '../../lib/types.ts';
import { rejectionOf } from '../support/thrown.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'g2rpo-reporter-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const rows = (name: string) =>
  readFileSync(join(dir, name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const score = (accuracy: number, prompts = 10, length = 12): ValidationScore => ({
  prompts,
  accuracy,
  format: 1,
  overall: accuracy,
  responseLength: { mean: length, max: 20 },
  clipRatio: 0,
  failed: 0,
});
const validation = (step: number, accuracies: Record<string, number>): ValidationReport => ({
  step,
  tasks: Object.fromEntries(Object.entries(accuracies).map(([task, accuracy]) => [task, score(accuracy)])),
  metrics: Object.fromEntries(Object.entries(accuracies).map(([task, a]) => [`val/${task}_accuracy_reward`, a])),
  skipped: [],
  failures: [],
  samples: [],
});

/** A reporter whose terminal is a list of lines, and whose clock goes on by a second a step. */
function start(options: { steps?: number; rollouts?: boolean } = {}) {
  const written: string[] = [];
  let time = 0;
  const terminal = createTerminal({ write: (text: string) => written.push(text) });
  const reporter = createReporter({ dir, terminal, now: () => (time += 1000), ...options });
  return { reporter, text: () => written.join('') };
}

describe('a run', () => {
  it('is written down row by row, and told line by line', async () => {
    const { reporter, text } = start({ steps: 10 });
    await reporter.rewind(-1);
    await reporter.validation(validation(0, { math: 0.5, ocr: 0.25 }));
    await reporter.step({ step: 1, metrics: { 'reward/overall': 0.5, 'actor/entropy': 0.25 } });
    await reporter.step({ step: 2, metrics: { 'actor/entropy': 0.125 } });
    await reporter.note('a row was\nleft out');
    await reporter.validation(validation(2, { math: 0.75, ocr: 0.2 }));
    await reporter.close();
    expect(rows('metrics.jsonl').map(({ step }) => step)).toEqual([0, 1, 2, 2]);
    expect(text()).toContain('step 1/10  reward 0.500  entropy 0.250\n');
    expect(text()).toContain('step 2/10  reward 0.500  entropy 0.125  1.0 s a step  8.0 s left\n'); // of the same rollouts
    expect(rows('metrics.jsonl')[2]).toEqual({ step: 2, 'actor/entropy': 0.125 });
    expect(text()).toContain('a row was left out\n');
    expect(text()).toContain('Validation at step 0\n');
    expect(text()).toContain(
      [
        'Validation at step 2, and what changed since step 0',
        'task       prompts  before %  now %  change  tokens',
        'math            10      50.0   75.0   +25.0    12.0',
        'ocr             10      25.0   20.0    −5.0    12.0',
        'all tasks       20      37.5   47.5   +10.0    12.0',
      ].join('\n'),
    );
  });

  it('tells that it samples: before its line on a terminal, now and then elsewhere, and never in its files', async () => {
    const progress = { drawn: 512, kept: 120, wanted: 512 };
    for (const isTTY of [true, false]) {
      const written: string[] = [];
      let time = 0;
      const screen = { isTTY, columns: 200, write: (text: string) => written.push(text) };
      const terminal = createTerminal(screen, { color: false, now: () => time });
      const reporter = createReporter({ dir, terminal });
      await reporter.rewind(-1);
      await reporter.sampling?.({ ...progress, done: 0, kept: 0 });
      await reporter.step({ step: 1, metrics: { 'reward/overall': 0.5 } });
      for (; time < 65_000; time += 5000) await reporter.sampling?.({ ...progress, done: time / 1000 });
      await reporter.close();
      const lines = written.map((text) => text.replaceAll(/\r\u001b\[2K|\n/g, ''));
      if (isTTY) expect(lines).toContain('sampling 55 of 512 prompts, 120 kept  step 1  reward 0.500');
      else
        expect(lines).toEqual([
          'sampling 0 of 512 prompts, 0 kept',
          'step 1  reward 0.500',
          'sampling 30 of 512 prompts, 120 kept',
          'sampling 60 of 512 prompts, 120 kept',
        ]);
      expect(rows('metrics.jsonl')).toEqual([{ step: 1, 'reward/overall': 0.5 }]);
    }
  });

  it('that goes on compares with its first validation', async () => {
    const first = start();
    await first.reporter.rewind(-1);
    await first.reporter.validation(validation(0, { math: 0.5 }));
    for (const step of [1, 2, 3]) await first.reporter.step({ step, metrics: {} });
    await first.reporter.close();
    const second = start();
    await second.reporter.rewind(2);
    await second.reporter.step({ step: 3, metrics: { again: 1 } });
    await second.reporter.validation(validation(3, { math: 0.6 }));
    await second.reporter.close();
    expect(second.text()).toMatch(/math +10 +50\.0 +60\.0 +\+10\.0/);
    expect(rows('metrics.jsonl').map(({ step, again }) => [step, again])).toEqual([
      [0, undefined],
      [1, undefined],
      [2, undefined],
      [3, 1],
      [3, undefined],
    ]);
    expect(rows('metrics.replaced.jsonl')).toEqual([{ step: 3 }]);
  });

  it('shows a few generations, and keeps them whole', async () => {
    const { reporter, text } = start();
    await reporter.rewind(-1);
    const reward = { overall: 1, accuracy: 1, format: 1 };
    const sample = {
      task: 'math',
      problem: '<image>2+3?',
      response: `${'x'.repeat(200)}\u001b[2J`,
      answer: '5',
      reward,
    };
    await reporter.validation({ ...validation(0, { math: 1 }), samples: [sample] });
    await reporter.close();
    expect(text()).toMatch(/asked +<image>2\+3\?\n +said +x+…\n +wanted +5 \(accuracy 1\.00, format 1\)\n/);
    expect(text()).not.toContain('\u001b');
    expect(rows('samples.jsonl')).toEqual([{ step: 0, ...sample }]);
  });

  it('keeps rollouts where they are wanted', async () => {
    const prompt = {
      source: { file: 'a', row: 1 },
      problem: 'p',
      images: [],
      problemType: 'math',
      taskType: 'math_reasoning',
    };
    const rollout = {
      groupId: 7,
      prompt: { ...prompt, options: [], answer: '5', extra: {} },
      tokens: Int32Array.of(1, 2),
      text: 'five',
      rolloutLogProbs: new Float32Array(2),
      finish: 'stop',
      reward: { overall: 0.1, accuracy: 0, format: 1 },
    } satisfies ScoredRollout;
    expect(start().reporter.rollouts).toBeUndefined();
    const { reporter } = start({ rollouts: true });
    await reporter.rewind(-1);
    await reporter.rollouts?.(1, [rollout]);
    await reporter.close();
    expect(rows('rollouts.jsonl')).toMatchObject([
      { step: 1, groupId: 7, response: 'five', tokens: 2, finish: 'stop' },
    ]);
  });

  it('must say first where it goes on', async () => {
    const { reporter } = start();
    const report = reporter.step({ step: 1, metrics: {} }) as Promise<void>;
    expect((await rejectionOf(report)).message).toContain('before rewind');
  });
});

it('a table without a comparison has no columns for one', () => {
  expect(validationTable({ ocr: score(0.5), math: score(1, 30, 8) })).toBe(
    [
      'task       prompts  accuracy %  tokens',
      'math            30       100.0     8.0',
      'ocr             10        50.0    12.0',
      'all tasks       40        75.0    10.0',
    ].join('\n'),
  );
});

it('a task that is new has no change, and then all tasks have none', () => {
  const table = validationTable({ math: score(0.6), ocr: score(0.5) }, { math: 0.5 });
  expect(table).toMatch(/math +10 +50\.0 +60\.0 +\+10\.0/);
  expect(table).toMatch(/ocr +10 +– +50\.0 +–/);
  expect(table).toMatch(/all tasks +20 +– +55\.0 +–/);
});
