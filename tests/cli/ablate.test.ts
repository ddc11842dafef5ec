import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);
const ablation = (variants: string, more = '') =>
  writeFileSync(
    at('ablation.yaml'),
    `output: out\nbase: base.yaml\nseeds: [1, 2]\njobs: 2\n${more}\nvariants:\n${variants}`,
  );
const TWO =
  '  - { name: grpo, algorithm: { name: grpo } }\n  - { name: ours, algorithm: { entropyBand: { coef: 0.1, tasks: { ocr: { min: 1, max: 2 } } } } }\n';

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-ablate-'));
  await writeGallery({ out: at('gallery'), train: 24, validation: 6, seed: 1 });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  writeFileSync(
    at('base.yaml'),
    `output: none
policy: { path: policy }
data: { train: gallery/train.jsonl, validation: gallery/validation.jsonl, template: plain }
rollout: { maxTokens: 5, prompts: 2, n: 2, filter: { low: -1, high: 2 } }
rewards: { concurrency: 1 }
train: { steps: 2, updatePrompts: 1, learningRate: 1e-3 }
eval: { samples: 0 }
`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('an ablation', () => {
  it('trains every variant with every seed, reports, and trains nothing twice', async () => {
    ablation(TWO);
    const first = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(first.code, first.stderr).toBe(0);
    expect(first.stdout).toContain('4 of 4 trials');
    expect(first.stdout).toMatch(/\| grpo +\| +2 \| +\d+\.\d ± \d+\.\d \| +[+−]\d+\.\d ± \d+\.\d \|/);
    const names = [
      'table.md',
      'results.json',
      'accuracy.svg',
      'reward.svg',
      'length.svg',
      'entropy.svg',
      'gradient-share.svg',
    ];
    for (const name of names) expect(existsSync(at('out', 'report', name)), name).toBe(true);
    expect(JSON.parse(readFileSync(at('out', 'report', 'results.json'), 'utf8'))).toHaveLength(4);
    const metrics = at('out', 'ours', 'seed-2', 'metrics.jsonl');
    const [rows, time] = [readFileSync(metrics, 'utf8'), statSync(metrics).mtimeMs];
    expect(rows).toContain('actor/entropy_penalty');

    const second = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(second.code).toBe(0);
    expect(statSync(metrics).mtimeMs).toBe(time);
    expect(second.stdout.slice(second.stdout.indexOf('| variant'))).toBe(
      first.stdout.slice(first.stdout.indexOf('| variant')),
    );

    // the same trial under another configuration is not the same trial
    ablation(TWO.replace('coef: 0.1', 'coef: 0.2'));
    const other = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(other.code).toBe(2);
    expect(other.stderr).toMatch(/INVALID_CONFIG {2}ours, seed 1: .* holds a trial of another configuration/);
  }, 120_000);

  it.each([
    ['  - { name: a, algorithm: { name: gprо } }\n', '', /variant a: algorithm.*name must be g2rpo/],
    ['  - { name: a, algorithm: { clipRnge: { low: 0.1 } } }\n', '', /variant a: algorithm\.clipRnge: .*clipRange/],
    ['  - { name: a }\n  - { name: a }\n', '', /variants: must have a name each, none twice/],
    ['  - { name: "a/b" }\n', '', /variants\.0\.name: must be letters, digits/],
    ['  - { name: grpo }\n', 'reference: gppo', /reference: there is no variant gppo; did you mean grpo\?/],
    ['  - { name: a }\n', 'sedes: [1]', /sedes: there is no such key; did you mean seeds\?/],
  ])('refuses %j %j before anything is trained', async (variants, more, message) => {
    ablation(variants, more);
    const { code, stderr } = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  it('a trial that fails ends the grid, with what it said', async () => {
    ablation('  - { name: broken, policy: { path: nowhere } }\n');
    const { code, stderr } = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/broken, seed [12]: its training ended with code 1/);
    expect(stderr).toContain('INVALID_CHECKPOINT');
  }, 60_000);
});
