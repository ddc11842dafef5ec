import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { packageRoot } from '../../lib/runtime/native.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);
const VARIANTS = ['grpo', 'ours'];
const trialDirs = (output: string) => VARIANTS.map((variant) => at(output, variant, 'seed-1'));

/** A grid of two trainings. Answers of the untrained policy earn what their letters say, so that there is something to learn. */
function grid(output: string, steps: number, saveEverySteps: number): string {
  const file = at(`${output}.yaml`);
  writeFileSync(
    at(`${output}-base.yaml`),
    `output: none
policy: { path: policy }
data: { train: gallery/train.jsonl, validation: gallery/validation.jsonl, template: plain }
rollout: { maxTokens: 5, prompts: 2, n: 2, filter: { low: -1, high: 2 } }
rewards: { file: reward.mjs, concurrency: 1 }
train: { steps: ${steps}, updatePrompts: 1, learningRate: 1e-3, saveEverySteps: ${saveEverySteps} }
eval: { samples: 0, everySteps: 4 }
`,
  );
  const variants = '[{ name: grpo, algorithm: { name: grpo } }, { name: ours }]';
  writeFileSync(file, `output: ${output}\nbase: ${output}-base.yaml\nseeds: [1]\njobs: 2\nvariants: ${variants}\n`);
  return file;
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-grid-'));
  await writeGallery({ out: at('gallery'), train: 24, validation: 6, seed: 1 });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  writeFileSync(
    at('reward.mjs'),
    'export default ({ response }) => ([...response].reduce((h, c) => (31 * h + c.codePointAt(0)) >>> 0, 7) % 101) / 100;\n',
  );
});
const started: ChildProcess[] = [];
afterEach(() => started.splice(0).forEach((each) => each.kill('SIGKILL')));
afterAll(() => rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 }));

/** The command as a process of its own, at the head of a group as at a terminal. */
function ablate(file: string): { process: ChildProcess; text: () => string; ended: Promise<unknown[]> } {
  const child = spawn(process.execPath, [join(packageRoot, 'dist/cli/main.js'), 'ablate', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  started.push(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += String(data)));
  return { process: child, text: () => text, ended: once(child, 'close') };
}

/** Processes that train now. */
const training = (output: string): number[] =>
  trialDirs(output).flatMap((trial) => {
    try {
      return [(JSON.parse(readFileSync(join(trial, '.lock'), 'utf8')) as { pid: number }).pid];
    } catch {
      return [];
    }
  });
const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself meanwhile
  }
};
const rowsOf = (trial: string): Record<string, unknown>[] =>
  existsSync(join(trial, 'metrics.jsonl'))
    ? readFileSync(join(trial, 'metrics.jsonl'), 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
    : [];
const saved = (trial: string): string[] =>
  existsSync(join(trial, 'checkpoints')) ? readdirSync(join(trial, 'checkpoints')) : [];
const until = async (when: () => boolean) => {
  while (!when()) await sleep(10);
};

describe('a grid that is killed', () => {
  it('at any moment, parent or child, ends as one that was left alone', { timeout: 180_000 }, async () => {
    const whole = ablate(grid('whole', 8, 2));
    expect(await whole.ended, whole.text()).toEqual([0, null]);
    const file = grid('torn', 8, 2);
    const moments: [ms: number, who: 'parent' | 'child' | 'all'][] = [
      [60, 'parent'], // nothing has begun
      [500 + 600 * Math.random(), 'parent'],
      [700 + 600 * Math.random(), 'child'],
      [600 + 600 * Math.random(), 'all'],
      [700 + 600 * Math.random(), 'parent'],
    ];
    const log: string[] = [];
    for (const [ms, who] of moments) {
      const torn = ablate(file);
      await sleep(ms);
      const children = training('torn');
      log.push(`${who} after ${ms} ms, ${children.length} training`);
      if (who === 'child' && children.length > 0) kill(children.at(-1)!);
      else torn.process.kill('SIGKILL');
      if (who === 'all') children.forEach(kill);
      await torn.ended;
      expect(torn.text(), log.join('; ')).not.toMatch(/INTERNAL|TypeError/);
    }
    const last = ablate(file);
    expect(await last.ended, `${log.join('; ')}\n${last.text()}`).toEqual([0, null]);
    const reportOf = (output: string, name: string) =>
      readFileSync(at(output, 'report', name), 'utf8').replaceAll(output, '');
    for (const name of readdirSync(at('whole', 'report')))
      expect(reportOf('torn', name) === reportOf('whole', name), `${name}: ${log.join('; ')}`).toBe(true);
    const numbers = (trial: string) =>
      rowsOf(trial).map((row) => Object.entries(row).filter(([name]) => !/^(timing_s|perf)\//.test(name)));
    trialDirs('torn').forEach((trial, i) => expect(numbers(trial)).toEqual(numbers(trialDirs('whole')[i]!)));
    expect(training('torn')).toEqual([]);
  });

  it('leaves no training behind, lets no other grid in, and is waited for', { timeout: 120_000 }, async () => {
    const file = grid('endless', 1e6, 1e6);
    const first = ablate(file);
    await until(
      () => training('endless').length === 2 && trialDirs('endless').every((trial) => rowsOf(trial).length > 4),
    );

    const second = await g2rpo(['ablate', file]);
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(
      new RegExp(
        `^g2rpo: IO {2}${at('endless')}: process ${first.process.pid} is at work in this folder; .* remove .*\\.lock`,
      ),
    );
    const direct = await g2rpo(['train', at('endless-base.yaml'), `output=${trialDirs('endless')[0]}`]);
    expect(direct.stderr).toMatch(/^g2rpo: IO .*grpo\/seed-1: process \d+ is at work/);

    const children = training('endless');
    first.process.kill('SIGKILL');
    await first.ended;
    const again = ablate(file);
    await until(
      () => /waiting for process \d+, which is at work in/.test(again.text()) || training('endless').length === 0,
    );
    await until(() => training('endless').length === 2 && training('endless').every((pid) => !children.includes(pid)));
    for (const trial of trialDirs('endless')) {
      expect(saved(trial)).toEqual([expect.stringMatching(/^step-\d+$/)]); // at its end, before which there was none
      expect(readFileSync(join(trial, 'log.txt'), 'utf8')).toContain('the process that started this one is gone');
    }

    // Ctrl-C is for all processes of a terminal at once, and still everything is saved
    await until(() =>
      trialDirs('endless').every((trial) => /resuming/.test(readFileSync(join(trial, 'log.txt'), 'utf8'))),
    );
    process.kill(-again.process.pid!, 'SIGINT');
    expect(await again.ended, again.text()).toEqual([130, null]);
    expect(again.text()).toContain('no trial is done yet');
    for (const trial of trialDirs('endless'))
      expect(Number(saved(trial).at(-1)!.slice(5))).toBe(
        Math.max(...rowsOf(trial).map((row) => row['step'] as number)),
      );
    expect(training('endless')).toEqual([]);
  });
});
