import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { writeGallery } from '../../lib/data/gallery/index.ts';
import { metricNamed } from '../../lib/report/dictionary.ts';
import { createRewardRunner } from '../../lib/rewards/index.ts';
import { packageRoot } from '../../lib/runtime/native.ts';
import { calibrateWith } from '../../lib/train/calibrate.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { formatCalibration } from '../../lib/train/formatCalibration.ts';
import { readTrainConfig } from '../../lib/train/readConfig.ts';
import { train } from '../../lib/train/train.ts';
import { collectReports, repeatable } from '../support/collectReports.ts';
import { fakePolicy, fakePrompt } from '../support/fakePolicy.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { rejectionOf } from '../support/thrown.ts';

const prompts = Array.from('abcdefg', (letter, i) =>
  fakePrompt(letter + letter, i % 2 ? { problemType: 'math', taskType: 'math_reasoning' } : {}),
);
const least = { output: 'o', policy: { path: 'p' }, data: { train: 't', template: 'plain' }, train: { steps: 4 } };

/** Answers of the fake policy, right if they are of at least so many letters; none of maths is. */
async function fakeCalibration({ n = 8, count = 3, seed = 1, algorithm = {} as object } = {}) {
  const config = loadTrainConfig({ ...least, seed, rollout: { maxTokens: 8 }, algorithm });
  const rewards = await createRewardRunner({
    fn: ({ response, prompt }) => (prompt.taskType === 'ocr' && response.length > 1 ? 0.5 : 0.4),
  });
  const options = { prompts: count, n };
  const found = await calibrateWith(fakePolicy().policy, rewards, prompts, config, options);
  await rewards.close();
  return { found, text: formatCalibration(found, config, options) };
}

describe('calibration of a fake policy', () => {
  it('looks at right answers alone', async () => {
    const { found, text } = await fakeCalibration({ algorithm: { calibration: { minCorrect: 5 } } });
    const [maths, ocr] = found;
    expect(found.map(({ task }) => task)).toEqual(['math_reasoning', 'ocr']);
    expect(maths).toMatchObject({ prompts: 3, rollouts: 24, correct: 0, lengths: [], entropies: [] });
    expect(maths).not.toHaveProperty('proposal');
    expect(ocr).toMatchObject({ prompts: 3, rollouts: 24 });
    expect(ocr!.correct).toBeGreaterThan(5);
    expect(ocr!.correct).toBeLessThan(24);
    expect(ocr!.lengths[0]).toBeGreaterThanOrEqual(2); // two letters and, if any, the stop
    const { thresholds, band } = ocr!.proposal!;
    expect(thresholds[1]).toBeLessThanOrEqual(ocr!.lengths[1]!);
    expect(band.min).toBeLessThanOrEqual(ocr!.entropies[0]!);
    expect(band.max).toBeGreaterThanOrEqual(ocr!.entropies[2]!);
    expect(text).toMatch(/^# math_reasoning: no proposal, 0 of 24 rollouts are right and .*minCorrect wants 5$/m);
  });

  it('says the same again, and another for another seed', async () => {
    const once = await fakeCalibration();
    expect((await fakeCalibration()).text).toBe(once.text);
    expect((await fakeCalibration({ seed: 2 })).found).not.toEqual(once.found);
  });

  it('takes all prompts of a task that has fewer, and measures in the unit of the reward', async () => {
    const algorithm = { calibration: { minCorrect: 1 }, lengthReward: { unit: 'characters' } };
    const { found, text } = await fakeCalibration({ count: 99, n: 1, algorithm });
    expect(found.map((each) => each.prompts)).toEqual([3, 4]);
    expect(parse(text)).toMatchObject({ algorithm: { lengthReward: { unit: 'characters' } } });
  });

  it('without any proposal it is a configuration that says nothing', async () => {
    const { text } = await fakeCalibration({ algorithm: { calibration: { minCorrect: 1000 } } });
    expect(parse(text)).toEqual({ algorithm: {} });
  });

  it.each([
    [{ count: 0 }, /prompts must be a whole number of at least 1; got 0/],
    [{ n: 1.5 }, /n must be a whole number of at least 1; got 1\.5/],
    [{ n: 2 ** 32 + 2 }, /n must be a whole number of at least 1 and at most 2147483647; got 4294967298/],
  ])('%j is refused', async (options, message) => {
    const error = await rejectionOf(fakeCalibration(options));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(message);
  });
});

it('is refused where no reward could be had, with the reason', async () => {
  const config = loadTrainConfig({ ...least, rollout: { maxTokens: 8 } });
  const rewards = await createRewardRunner({ fn: () => Number.NaN });
  const error = await rejectionOf(calibrateWith(fakePolicy().policy, rewards, prompts, config, { prompts: 1, n: 2 }));
  await rewards.close();
  expect(error.code).toBe('REWARD_FAILED');
  expect(error.message).toMatch(/none of 4 rollouts could be scored; the first: .*must return accuracy .*got NaN/);
});

describe('with the policy of the package', () => {
  let dir: string;
  const at = (...path: string[]) => join(dir, ...path);
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'g2rpo-calibrate-'));
    await writeGallery({ out: at('gallery'), train: 48, validation: 6, seed: 4 });
    writeFileSync(
      at('run.yaml'),
      `output: run
policy: { path: ${join(packageRoot, 'assets', 'quickstart', 'policy')} }
data: { train: gallery/train.jsonl, template: plain }
rewards: { concurrency: 1 }
rollout: { maxTokens: 40, prompts: 4, n: 4, filter: { low: -1, high: 2 } }
algorithm: { calibration: { minCorrect: 8 } }
train: { steps: 4, updatePrompts: 4, learningRate: 1e-4, saveEverySteps: 2 }
`,
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('what is printed is a part of a configuration', async () => {
    const raw = ['calibrate', at('run.yaml'), '--prompts', '4', '--n', '4', 'policy.max_prompt_tokens=4000'];
    const { code, stdout, stderr } = await g2rpo(raw);
    expect({ code, stderr: stderr.includes('task 1 of 6') }).toEqual({ code: 0, stderr: true });
    expect(stdout).toMatch(/^# task +prompts +rollouts +right/m);
    const part = parse(stdout) as { algorithm: { lengthReward: { tasks: Record<string, number[]> } } };
    const tasks = Object.keys(part.algorithm.lengthReward.tasks);
    expect(tasks).toContain('chart_figure_qa');
    const whole = parse(readFileSync(at('run.yaml'), 'utf8')) as { algorithm: object };
    const { algorithm } = loadTrainConfig({ ...whole, algorithm: { ...whole.algorithm, ...part.algorithm } });
    expect(algorithm).toMatchObject(part.algorithm);
    expect((await g2rpo([...raw, '--out', at('bounds.yaml')])).stdout).toBe('');
    expect(readFileSync(at('bounds.yaml'), 'utf8')).toBe(stdout);
  });

  it.each([
    [['--prompts', '0'], /--prompts must be at least 1; got 0/],
    [['--n', '-1'], /--n must be at least 1; got -1/],
    [['--n', 'many'], /--n must be a whole number; got many/],
    [['--out', '/nowhere/at/all.yaml'], /--out must lie in a folder that is there; got \/nowhere\/at/],
    [['--out', '/dev/null/all.yaml'], /--out must lie in a folder that is there; got \/dev\/null/],
    [['--out', tmpdir()], /--out must be a file; got "/],
    [['--out', ''], /--out must be a file; got ""/],
    [['rollout.n=1e15'], /rollout\.n: .*got 1000000000000000/],
  ])('%j is refused before anything is sampled', async (more, message) => {
    expect(await g2rpo(['calibrate', at('run.yaml'), ...more])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(message),
    });
  });

  it('a run whose bounds follow goes on exactly, and every number of it is explained', async () => {
    const changes = (output: string, steps: number) => [
      { path: 'output', value: at(output) },
      { path: 'train.steps', value: steps },
      { path: 'algorithm.calibration', value: { everyBatches: 1, minCorrect: 2, hysteresis: 0 } },
      { path: 'algorithm.lengthReward.weight', value: 0.1 },
      { path: 'algorithm.entropyBand.coef', value: 0.02 },
    ];
    const trained = async (output: string, steps: number) => {
      const reports = collectReports();
      await train(readTrainConfig(at('run.yaml'), changes(output, steps)).config, reports.reporter);
      return reports.steps.map(({ metrics }) => repeatable(metrics));
    };
    const whole = await trained('whole', 4);
    await trained('parts', 2);
    expect(await trained('parts', 4)).toEqual(whole.slice(2));
    for (const name of whole.flatMap((metrics) => Object.keys(metrics))) expect(metricNamed(name), name).toBeDefined();
    const told = whole.flatMap((metrics) => Object.entries(metrics));
    expect(told.some(([name]) => name === 'reward/length')).toBe(true);
    const correct = told.filter(([name]) => name.startsWith('shaping/correct/'));
    expect(correct.some(([, count]) => (count as number) >= 2)).toBe(true);
    const starts = told.filter(([name]) => name.startsWith('shaping/length_peak_start/'));
    expect(starts.some(([, length]) => (length as number) < 20)).toBe(true); // the shipped policy is terse
  });
});
