import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { metricNamed, METRICS } from '../../lib/report/dictionary.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { mainArguments } from '../support/mainArguments.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-train-'));
  const demonstrations = { demonstrations: { scenes: 12 } };
  await writeGallery({ out: at('gallery'), train: 24, validation: 6, demonstrations, seed: 1 });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  const common = `
policy: { path: policy }
rollout: { maxTokens: 5 }
rewards: { concurrency: 1 }
eval: { samples: 1, everySteps: 0 }
`;
  writeFileSync(
    at('run.yaml'),
    `${common}
output: run
data: { train: gallery/train.jsonl, validation: gallery/validation.jsonl, template: plain }
train: { steps: 3, updatePrompts: 1, learningRate: 1e-3 }
`.replace('maxTokens: 5', 'maxTokens: 5, prompts: 2, n: 2, batchPrompts: 2, filter: { low: -1, high: 2 }'),
  );
  writeFileSync(
    at('sft.yaml'),
    `${common}
output: cold
data: { validation: gallery/validation.jsonl, template: plain }
phases: [{ name: words, demonstrations: [{ files: gallery/demonstrations.jsonl }], steps: 2, batchRows: 4 }]
`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const rows = (...path: string[]) =>
  readFileSync(at(...path), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('before a run', () => {
  it('the configuration is shown with the origin of every value', async () => {
    const { code, stdout } = await g2rpo(['train', at('run.yaml'), '--print-config', '--rollout.top_p', '0.9']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}topP: 0\.9 # command line$/m);
    expect(stdout).toMatch(/^ {2}steps: 3 # file$/m);
    expect(stdout).toMatch(/^ {2}temperature: 1 # default$/m);
  });

  it('a dry run checks files and tells what would be done, and does not do it', async () => {
    const { code, stdout, stderr } = await g2rpo(['train', at('run.yaml'), '--dry-run']);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/policy .*: 0\.\d+ million parameters/);
    expect(stdout).toMatch(/train on 24 prompts \(chart_figure_qa 4, .*\nthe first 24 of them have up to \d+ tokens\n/);
    expect(stdout).toMatch(
      /3 updates, each from 1 prompts with 2 rollouts of up to \d+ tokens\none rollout batch of 2 prompts serves 2 updates/,
    );
    const cold = await g2rpo(['sft', at('sft.yaml'), '--dry-run']);
    expect(cold.stdout).toMatch(/phase words: 2 updates of 4 of 36 rows/);
    expect(existsSync(at('run'))).toBe(false);
    expect(existsSync(at('cold'))).toBe(false);
    const dry = (change: string) => g2rpo(['train', at('run.yaml'), '--dry-run', change]);
    expect((await dry('train.freeze=model.visual.*')).stdout).toMatch(/million parameters, 0\.\d+ million are trained/);
    expect((await dry('train.lora.rank=2')).stdout).toMatch(/, and 0\.\d+ million of adapters that are trained/);
    expect(await dry('train.freeze=visual.*')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('train.freeze: "visual.*" is the name of no parameter'),
    });
    expect(await dry('policy.maxPromptTokens=5')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/INVALID_PROMPT .*at most 5 are allowed/) as string,
    });
    const missing = await g2rpo(['train', at('run.yaml'), '--dry-run', 'policy.path=nowhere']);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('INVALID_CHECKPOINT') });
  });

  it.each([
    ['G2RPO_THREADS', 'many', /INVALID_ARGUMENT.*G2RPO_THREADS must be a whole number from 1 to 1024; got NaN/],
    ['G2RPO_ISA', 'mmx', /BACKEND_UNAVAILABLE.*G2RPO_ISA must be an instruction set of this machine.*got "mmx"/],
  ])('a dry run looks at %s', (name, value, message) => {
    const args = ['train', at('run.yaml'), '--dry-run'];
    const { status, stderr } = spawnSync(process.execPath, [...mainArguments, ...args], {
      env: { ...process.env, [name]: value },
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
  });

  it('a reward function that always fails is told with its reason, by a validation and by the first rollouts', async () => {
    writeFileSync(at('broken.mjs'), 'export default () => { throw new Error("my bug"); };');
    const broken = [at('run.yaml'), `rewards.file=${at('broken.mjs')}`, `output=${at('broken')}`];
    expect(await g2rpo(['eval', ...broken])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /REWARD_FAILED .*validation: none of 6 responses could be scored; .*my bug/,
      ) as string,
    });
    expect(await g2rpo(['train', ...broken, 'eval.before=false'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/REWARD_FAILED .*rollout: none of 4 responses could be scored; .*my bug/) as string,
    });
  });

  it('a wrong key or value is refused with code 2', async () => {
    const { code, stderr } = await g2rpo(['train', at('run.yaml'), 'rollout.tempreture=1', 'train.steps=many']);
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean rollout.temperature?');
    expect(stderr).toContain('train.steps');
    expect(await g2rpo(['train', at('none.yaml')])).toMatchObject({ code: 1, stderr: expect.stringContaining('IO') });
  });
});

describe('a run', () => {
  it('trains, validates, and writes down only numbers that are explained, and all of these', async () => {
    const { code, stdout, stderr } = await g2rpo(['train', at('run.yaml'), '--save-rollouts']);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/Validation at step 3, and what changed since step 0/);
    expect(stdout).toMatch(/done at step 3: the policy is in .*run\/policy/);
    const metrics = rows('run', 'metrics.jsonl');
    expect(metrics.map(({ step }) => step)).toEqual([0, 1, 2, 3, 3]);
    expect(rows('run', 'rollouts.jsonl')).toHaveLength(8);
    const cold = await g2rpo(['sft', at('sft.yaml')]);
    expect(cold.code, cold.stderr).toBe(0);
    const everything = [
      'kl.coef=0.01',
      'lengthReward.weight=0.1',
      'entropyBand.coef=0.02',
      'calibration.everyBatches=1',
    ];
    const changes = [`output=${at('shaped')}`, 'train.steps=1', ...everything.map((each) => `algorithm.${each}`)];
    const shaped = await g2rpo(['train', at('run.yaml'), ...changes]);
    expect(shaped.code, shaped.stderr).toBe(0);
    const others = [...rows('cold', 'metrics.jsonl'), ...rows('shaped', 'metrics.jsonl')];
    const names = new Set([...metrics, ...others].flatMap((row) => Object.keys(row)));
    names.delete('step');
    expect([...names].filter((name) => metricNamed(name) === undefined)).toEqual([]);
    const explained = new Set([...names].map((name) => metricNamed(name)!.name));
    expect(METRICS.map(({ name }) => name).filter((name) => !explained.has(name))).toEqual([]);
  });

  it('responses end at strings, in rollouts and in validations', async () => {
    const strings = ['a', 'e', ' '];
    const changes = [`output=${at('ended')}`, 'train.steps=1', `rollout.stop_strings=${JSON.stringify(strings)}`];
    const more = ['rollout.maxTokens=40', 'eval.everySteps=1', '--save-rollouts'];
    const { code, stderr } = await g2rpo(['train', at('run.yaml'), ...changes, ...more]);
    expect(code, stderr).toBe(0);
    // the last token, which is kept, has at most twelve letters
    for (const { response, tokens, finish } of rows('ended', 'rollouts.jsonl')) {
      expect(
        strings.some((each) => (response as string).slice(0, -12).includes(each)),
        response as string,
      ).toBe(false);
      expect(finish === 'stop' || tokens === 40).toBe(true);
    }
    const length = Object.entries(rows('ended', 'metrics.jsonl')[0]!).find(([name]) =>
      /response_length\/max/.test(name),
    )!;
    expect(length[1]).toBeLessThan(40);
    const wrong = await g2rpo(['train', at('run.yaml'), '--dry-run', 'rollout.stopStrings=[""]']);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(/rollout\.stopStrings/) });
  });

  it('can be validated again', async () => {
    const { code, stdout, stderr } = await g2rpo(['eval', at('run.yaml'), `policy.path=${at('run/policy')}`, '--json']);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout) as { tasks: Record<string, { prompts: number }> };
    expect(Object.values(report.tasks).map(({ prompts }) => prompts)).toEqual([1, 1, 1, 1, 1, 1]);
    expect((await g2rpo(['eval', at('run.yaml')])).stdout).toMatch(/^all tasks +6 /m);
  });

  it('that is told to stop is saved, ends with 130, and goes on', async () => {
    const raw = ['train', at('run.yaml'), `output=${at('stopped')}`];
    const stopped = await g2rpo(raw, { signal: AbortSignal.abort() });
    expect(stopped).toMatchObject({ code: 130, stdout: expect.stringContaining('the same command goes on') });
    const resumed = await g2rpo(raw);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(rows('stopped', 'metrics.jsonl').at(-1)).toMatchObject({ step: 3 });
  });
});

it('metrics explains them', async () => {
  const { code, stdout } = await g2rpo(['metrics']);
  expect(code).toBe(0);
  for (const { name } of METRICS) expect(stdout).toContain(`\n${name} `);
});
