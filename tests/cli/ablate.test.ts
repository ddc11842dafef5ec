import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
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
    expect(other.stderr).toMatch(
      /INVALID_CONFIG {2}ours, seed 1: .* holds a trial of another configuration; .*algorithm\.entropyBand\.coef was 0\.1, is now 0\.2/,
    );
  }, 120_000);

  describe('whose files were damaged', () => {
    const table = () => readFileSync(at('out/report/table.md'), 'utf8');
    const trial = (name: string) => at('out/grpo/seed-1', name);
    const run = (...more: string[]) => {
      ablation(TWO);
      return g2rpo(['ablate', at('ablation.yaml'), ...more]);
    };

    it.each(['', '{"output": "o', 'null', '[1]', '\0\0\0'])(
      'trial.json holds %j: looks at that training again, and says so',
      async (text) => {
        const [before, whole] = [table(), readFileSync(trial('trial.json'), 'utf8')];
        writeFileSync(trial('trial.json'), text);
        expect((await run('--dry-run')).stdout).toMatch(/grpo, seed 1: .*trial\.json is not as it was written/);
        const { code, stdout, stderr } = await run();
        expect(code, stderr).toBe(0);
        expect(stdout).toMatch(/grpo\/seed-1\/trial\.json is not as it was written; its training is looked at again/);
        expect(readFileSync(trial('trial.json'), 'utf8')).toBe(whole);
        expect(table()).toBe(before);
      },
      60_000,
    );

    it.each([
      ['a torn row', (text: string) => text.slice(0, -20), /INVALID_DATA .*metrics\.jsonl, line 4: a row of metrics/],
      [
        'what is no row',
        () => 'null\n',
        /INVALID_DATA .*metrics\.jsonl, line 1: a row of metrics was wanted; got null/,
      ],
      ['a row less', (text: string) => text.replace(/.*\n.*\n$/, ''), /up to step 2 were wanted; got step [01]/],
      ['nothing', () => '', /metrics\.jsonl: rows up to step 2 were wanted; got none/],
    ])('metrics.jsonl has %s: says what to remove', async (_, damage, message) => {
      const whole = readFileSync(trial('metrics.jsonl'), 'utf8');
      writeFileSync(trial('metrics.jsonl'), damage(whole));
      const { code, stderr } = await run('--report-only');
      writeFileSync(trial('metrics.jsonl'), whole);
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/Remove .*grpo\/seed-1 to have this trial trained again/);
    });

    it.each(['trial.json', 'metrics.jsonl'])('%s is a folder: is named', async (name) => {
      const whole = readFileSync(trial(name), 'utf8');
      rmSync(trial(name));
      mkdirSync(trial(name));
      const { code, stderr } = await run();
      rmSync(trial(name), { recursive: true });
      writeFileSync(trial(name), whole);
      expect(code).toBe(1);
      expect(stderr).toMatch(new RegExp(`^g2rpo: IO {2}.*grpo/seed-1/${name}: EISDIR`));
    });

    it('the folder of the report is a file: is named', async () => {
      rmSync(at('out/report'), { recursive: true });
      writeFileSync(at('out/report'), '');
      const { code, stderr } = await run();
      rmSync(at('out/report'));
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^g2rpo: IO {2}.*out\/report: EEXIST/)]);
    });

    it('moved as a whole, its trials are still done', async () => {
      renameSync(at('out'), at('moved'));
      ablation(TWO);
      writeFileSync(
        at('ablation.yaml'),
        readFileSync(at('ablation.yaml'), 'utf8').replace('output: out', 'output: moved'),
      );
      const { code, stdout } = await g2rpo(['ablate', at('ablation.yaml'), '--report-only']);
      expect([code, stdout]).toEqual([0, expect.stringContaining('4 of 4 trials')]);
    });
  });

  it.each([
    ['  - { name: a, algorithm: { name: gprо } }\n', '', /variant a: algorithm\.name: must be g2rpo/],
    ['  - { name: a, algorithm: { clipRnge: { low: 0.1 } } }\n', '', /variant a: algorithm\.clipRnge: .*clipRange/],
    ['  - { name: a }\n  - { name: a }\n', '', /variants: must have a name each, none twice/],
    ['  - { name: "a/b" }\n', '', /variants\.0\.name: must be letters, digits/],
    ['  - { name: grpo }\n', 'reference: gppo', /reference: there is no variant gppo; did you mean grpo\?/],
    ['  - { name: a }\n', 'sedes: [1]', /sedes: there is no such key; did you mean seeds\?/],
    ['  - { name: report }\n', '', /variants\.0\.name: must not be report, which is a folder of its own/],
    ['  - { name: a, seed: 3 }\n', '', /variants\.0: must leave seed and output to the ablation/],
    [
      '  - { name: a, rollout: { n: 1 } }\n  - { name: b }\n  - { name: c, rollout: { m: 1 } }\n',
      '',
      /variant a: rollout\.n: .*\n.*variant c: rollout\.m: there is no such key/,
    ],
  ])('refuses %j %j before anything is trained', async (variants, more, message) => {
    ablation(variants, more);
    const { code, stderr } = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  it.each([
    ['', /ablation\.yaml|output: is missing/],
    ['[1, 2]', /the configuration must be a mapping/],
    ['output: [\n', /ablation\.yaml: /],
    [
      '{output: out, base: base.yaml, seeds: [1, 1], variants: [{ name: a }]}',
      /seeds: must be different from each other/,
    ],
    [
      '{output: out, base: base.yaml, seeds: [.nan, 1e300, x], variants: [{ name: a }]}',
      /seeds\.0: .*seeds\.1: .*seeds\.2: /s,
    ],
    ['{output: out, base: base.yaml, seeds: [1], jobs: 1e9, variants: 3}', /variants: must be a list; got 3/],
    ['{output: out, base: ., seeds: [1], variants: [{ name: a }]}', /variant a: the configuration .*EISDIR/],
    [
      '{output: out, base: none.yaml, seeds: [1], variants: [{ name: a }]}',
      /variant a: the configuration .*no such file/,
    ],
    [
      `a: &a [x]\n${[...'bcdefghi'].map((k, i) => `${k}: &${k} [${Array(10).fill(`*${'abcdefgh'[i]}`).join()}]\n`).join('')}`,
      /cannot be taken in: Excessive alias count/,
    ],
    ['['.repeat(1e5), /ablation\.yaml: /],
  ])('a file that holds %j', async (text, message) => {
    writeFileSync(at('ablation.yaml'), text);
    const { code, stderr } = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('INTERNAL');
  });

  it('a file that is none', async () => {
    writeFileSync(at('binary.yaml'), Buffer.from([0xff, 0xfe, 0x00, 0x80]));
    for (const [file, message] of [
      [at('nowhere.yaml'), /^g2rpo: IO {2}the ablation .*nowhere\.yaml: no such file in/],
      [dir, /^g2rpo: IO {2}the ablation .*: EISDIR/],
      [at('binary.yaml'), /^g2rpo: INVALID_CONFIG {2}.*binary\.yaml: the ablation must be text in UTF-8/],
    ] as const)
      expect((await g2rpo(['ablate', file])).stderr).toMatch(message);
  });

  it('a trial that fails ends the grid, with its own error', async () => {
    ablation('  - { name: broken, policy: { path: nowhere } }\n');
    const { code, stderr } = await g2rpo(['ablate', at('ablation.yaml')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^g2rpo: INVALID_CHECKPOINT {2}broken, seed [12]: .*nowhere/);
    expect(stderr).toMatch(/Its log is .*out\/broken\/seed-[12]\/log\.txt/);
    expect(stderr).not.toContain('mistake of ours');
  }, 60_000);
});
