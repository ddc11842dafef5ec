import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery } from '../../lib/data/gallery/index.ts';
import { openCheckpoint } from '../../lib/model/qwen3vl/checkpoint.ts';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { leastCacheBytes } from '../../lib/model/qwen3vl/workload.ts';
import { packageRoot } from '../../lib/runtime/native.ts';
import { batchNotes } from '../../lib/train/beforehand.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { encodeSome } from '../../lib/train/encodeSome.ts';
import { readTrainConfig } from '../../lib/train/readConfig.ts';
import { loadDataset } from '../../lib/data/dataset.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { fakePrompt } from '../support/fakePolicy.ts';
import { rejectionOf } from '../support/thrown.ts';

const policyDir = join(packageRoot, 'assets', 'quickstart', 'policy');
let dir: string;
const at = (...path: string[]) => join(dir, ...path);
const file = () => at('run.yaml');

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-beforehand-'));
  await writeGallery({
    out: at('gallery'),
    train: 12,
    validation: 6,
    demonstrations: { demonstrations: { scenes: 6 } },
    seed: 4,
  });
  writeFileSync(
    file(),
    `output: run
policy: { path: ${policyDir} }
data: { train: gallery/train.jsonl, template: plain }
rewards: { concurrency: 1 }
rollout: { maxTokens: 5, prompts: 2, n: 2, filter: { low: -1, high: 2 } }
train: { steps: 1, updatePrompts: 2 }
`,
  );
  writeFileSync(
    at('sft.yaml'),
    `output: run
policy: { path: ${policyDir} }
data: { validation: gallery/validation.jsonl, template: plain }
rollout: { maxTokens: 5 }
phases: [{ name: words, demonstrations: [{ files: gallery/demonstrations.jsonl }], steps: 2, batchRows: 4 }]
`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const dry = (...changes: string[]) => g2rpo(['train', file(), '--dry-run', ...changes]);
const plan = (...changes: string[]) => g2rpo(['plan', file(), ...changes]);
/** What would have been read if anything had been loaded. */
const weightless = () => {
  const folder = at('weightless');
  if (!existsSync(folder)) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'config.json'), readFileSync(join(policyDir, 'config.json')));
  }
  return `policy.path=${folder}`;
};

describe('before a policy is loaded', () => {
  it('all that is wrong is told at once, by train, its dry run, the plan and eval', async () => {
    writeFileSync(at('broken.mjs'), 'export default 3;');
    const changes = [
      'rewards.file=' + at('broken.mjs'),
      'rollout.cacheMb=0.001',
      `data.validation=${at('gallery', 'validation.jsonl')}`,
    ];
    const answers = await Promise.all([
      dry(...changes),
      plan(...changes),
      g2rpo(['eval', file(), ...changes]),
      g2rpo(['calibrate', file(), ...changes]),
      g2rpo(['train', file(), ...changes, `output=${at('refused')}`]),
    ]);
    for (const { code, stderr } of answers) {
      expect(code, stderr).toBe(2);
      expect(stderr).toMatch(/INVALID_CONFIG {2}2 problems:/);
      expect(stderr).toMatch(/rewards\.file: .*broken\.mjs could not be loaded: its default export must be a function/);
      expect(stderr).toMatch(/rollout\.cacheMb: must be at least 0\.\d+ for the shortest prompt and a response of 5 tokens \(rollout\.maxTokens\); got 0\.001/); // prettier-ignore
    }
  });

  it('and by a cold start, which needs room where it validates', async () => {
    const cold = (...changes: string[]) =>
      g2rpo(['sft', at('sft.yaml'), '--dry-run', 'rollout.cacheMb=0.001', ...changes]);
    expect(await cold()).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/rollout\.cacheMb: must be at least/),
    });
    writeFileSync(at('blind.yaml'), readFileSync(at('sft.yaml'), 'utf8').replace(/validation: [^,]+, /, ''));
    const blind = await g2rpo(['sft', at('blind.yaml'), '--dry-run', 'rollout.cacheMb=0.001']);
    expect(blind.code, blind.stderr).toBe(0);
  });

  it('weights are not looked for when the configuration is refused', async () => {
    const { code, stderr } = await g2rpo([
      'train',
      file(),
      weightless(),
      'rewards.file=nowhere.mjs',
      `output=${at('w')}`,
    ]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/rewards\.file: no such file/);
  });
});

describe('a cache that is too small', () => {
  it('is known from the prompts: what is told is enough, and anything less is not', async () => {
    const { config } = readTrainConfig(file());
    const { prompts } = loadDataset(config.data.train);
    const { encoder, encoded, longest } = await encodeSome(config, prompts);
    const least = leastCacheBytes(encoder.config, longest, 5) / 1e6;
    for (const ask of [dry, plan]) {
      const short = await ask(`rollout.cacheMb=${least - 1e-6}`);
      expect(short.code).toBe(2);
      const told = new RegExp(`must be at least ([\\d.]+) for a prompt of ${longest} tokens`).exec(short.stderr)!;
      const enough = await ask(`rollout.cacheMb=${told[1]}`);
      expect(enough.code, enough.stderr).toBe(0);
    }
    // the engine counts alike
    const run = (cacheMb: number, output: string) =>
      g2rpo([
        'train',
        file(),
        `output=${at(output)}`,
        `rollout.cacheMb=${cacheMb}`,
        'rollout.prompts=12',
        'train.updatePrompts=12',
      ]);
    expect((await run(least, 'room')).code).toBe(0);
    expect((await run(least - 1e-6, 'none')).stderr).toMatch(/rollout\.cacheMb: must be at least/);
    expect(existsSync(at('none/metrics.jsonl'))).toBe(false);
    const policy = await Policy.load(config.policy.path, { engine: { cacheMb: least - 1e-6 } });
    const prompt = encoded.find(({ inputIds }) => inputIds.length === longest)!;
    expect((await rejectionOf(policy.generate([prompt], { maxTokens: 5 }))).message).toMatch(
      /take \d+ pages of 16 tokens; the cache holds at most \d+/,
    );
    policy.dispose();
  });

  it('is counted in pages of the prompt and of the response', async () => {
    const { config } = await openCheckpoint(policyDir);
    const page = leastCacheBytes(config, 1, 1) / 2;
    expect(leastCacheBytes(config, 16, 17)).toBe(2 * page);
    expect(leastCacheBytes(config, 17, 17)).toBe(3 * page);
    expect(leastCacheBytes(config, 16, 18)).toBe(3 * page);
  });
});

describe('an output folder', () => {
  it('with a run of another configuration is refused, with the same one told', async () => {
    const done = await g2rpo(['train', file()]);
    expect(done.code, done.stderr).toBe(0);
    expect(await dry('train.steps=3')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/run, where the run goes on from step 1$/m),
    });
    for (const ask of [dry, plan]) {
      const { code, stderr } = await ask('rollout.temperature=0.5', 'rewards.file=nowhere.mjs');
      expect(code).toBe(2);
      expect(stderr).toMatch(/output: .*run holds a run of another configuration: .*rollout\.temperature was 1, is now 0\.5.* Take another output folder/); // prettier-ignore
      expect(stderr).toMatch(/rewards\.file: no such file/);
    }
    const cold = await g2rpo(['sft', at('sft.yaml'), '--dry-run']);
    expect(cold).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/run holds a run of another configuration: it is one of g2rpo train/),
    });
  });

  it('with a run of another data set is refused', async () => {
    const other = at('other.jsonl');
    writeFileSync(other, readFileSync(at('gallery', 'train.jsonl'), 'utf8').split('\n').slice(0, 4).join('\n'));
    const folder = at('moved');
    const from = (train: string) => [`data.train=${train}`, `data.imageDir=${at('gallery')}`, `output=${folder}`];
    const copy = at('copy.jsonl');
    writeFileSync(copy, readFileSync(at('gallery', 'train.jsonl')));
    expect((await g2rpo(['train', file(), ...from(copy)])).code).toBe(0);
    writeFileSync(copy, readFileSync(other));
    const { code, stderr } = await dry(...from(copy));
    expect(code).toBe(1);
    expect(stderr).toMatch(/INVALID_CHECKPOINT {2}prompt stream: the state is of another dataset/);
  });
});

describe('a batch that is larger than the data set', () => {
  it('is well, goes through it more than once, and is told', async () => {
    const changes = ['rollout.prompts=30', 'train.updatePrompts=30', `output=${at('many')}`];
    const said = /a rollout batch of 30 prompts \(rollout\.prompts\) goes 2\.5 times through the 12 of data\.train; a prompt that comes again is answered anew/; // prettier-ignore
    for (const ask of [dry, plan])
      expect(await ask(...changes)).toMatchObject({ code: 0, stdout: expect.stringMatching(said) });
    expect((await dry('rollout.prompts=12', 'train.updatePrompts=12', `output=${at('once')}`)).stdout).not.toMatch(
      /times through/,
    );
    const run = await g2rpo(['train', file(), ...changes, '--save-rollouts']);
    expect(run.code, run.stderr).toBe(0);
    expect(run.stdout).toMatch(said);
    const rollouts = readFileSync(at('many', 'rollouts.jsonl'), 'utf8').trim().split('\n');
    expect(rollouts).toHaveLength(60);
  });

  it('is counted by task where all have the same share', () => {
    const config = loadTrainConfig({
      output: 'x',
      policy: { path: 'x' },
      data: { train: 'x.jsonl', taskBalance: true },
      rollout: { prompts: 8 },
      train: { steps: 1, updatePrompts: 8 },
    });
    const of = (taskType: string, count: number) => Array.from({ length: count }, () => fakePrompt('a', { taskType }));
    expect(batchNotes(config, [...of('ocr', 3), ...of('chart_figure_qa', 4)])).toEqual([
      expect.stringMatching(
        /goes 1\.3 times through the 3 of ocr, whose share is as large as any \(data\.taskBalance\)/,
      ),
    ]);
    expect(batchNotes(config, [...of('ocr', 4), ...of('chart_figure_qa', 4)])).toEqual([]);
  });
});
