import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAlgorithm } from '../../lib/algorithms/index.ts';
import { comparePresets } from '../../lib/train/comparePresets.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { getAt } from '../../lib/train/parseConfig.ts';
import { presetNamed, PRESETS } from '../../lib/train/presets.ts';
import { formatConfig, readTrainConfig } from '../../lib/train/readConfig.ts';
import { withLimits } from '../../lib/train/train.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { thrownBy } from '../support/thrown.ts';

const least = { output: '/o', policy: { path: '/p' }, data: { train: '/t' }, train: { steps: 4 } };
const with_ = (preset: string, more: object = {}) => loadTrainConfig({ ...least, preset, ...more });

describe.each([...PRESETS.values()])('$name', ({ name, values }) => {
  it('is a configuration with each of its values, and every value has a source', () => {
    const config = with_(name);
    for (const [key, value, source] of values) {
      expect(getAt(config, key.split('.')), key).toEqual(value);
      expect(source, key).toMatch(/\S{4,}/);
    }
    expect(new Set(values.map(([key]) => key)).size).toBe(values.length);
    createAlgorithm(withLimits(config));
  });

  it('is its own parse, and needs no name to be the same', () => {
    const config = with_(name);
    expect(loadTrainConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    const { preset, ...nameless } = config;
    expect(preset).toBe(name);
    expect(loadTrainConfig(nameless)).toEqual(nameless);
  });

  it('gives way to another estimator and another loss', () => {
    for (const estimator of ['g2rpo', 'rloo', 'ema-grpo'])
      expect(with_(name, { algorithm: { adv_estimator: estimator } }).algorithm.name).toBe(estimator);
    const { clipRange, loss } = with_(name, { algorithm: { loss: 'cispo' } }).algorithm;
    expect({ clipRange, loss }).toEqual({ clipRange: { low: 1, high: 4, dual: 0 }, loss: 'cispo' });
  });
});

it('what is written wins, in any spelling', () => {
  const config = with_('dapo', {
    worker: { rollout: { n: 3 } },
    algorithm: { clipRange: { high: 0.5 } },
    train: { steps: 2, learning_rate: 1 },
  });
  expect(config).toMatchObject({
    rollout: { n: 3, prompts: 512 },
    algorithm: { clipRange: { low: 0.2, high: 0.5, dual: 0 } },
    train: { steps: 2, learningRate: 1, warmupSteps: 320 },
  });
});

it('a wrong value where a preset has a group is a mistake, not overlooked', () => {
  expect(thrownBy(() => with_('dapo', { algorithm: { clipRange: 5 } })).message).toMatch(/algorithm\.clipRange/);
  expect(thrownBy(() => loadTrainConfig({ ...least, preset: 3 })).message).toMatch(/^preset: must be text; got 3$/);
});

it('an unknown name has a nearest', () => {
  expect(thrownBy(() => presetNamed('papr')).message).toMatch(/did you mean paper\?; got papr$/);
  expect(thrownBy(() => with_('toString')).message).toMatch(/^preset: must be one of/);
});

it('differences are where presets differ', () => {
  const found = comparePresets([presetNamed('paper'), presetNamed('reference-code')]);
  const of = (key: string) => found.find((each) => each.key === key);
  expect(of('algorithm.tieTolerance')).toEqual({ key: 'algorithm.tieTolerance', usual: 1e-9, values: [1e-9, 0] });
  expect(of('data.tags.think')?.values).toEqual(['think', 'thinking']);
  expect(of('rollout.n')).toBeUndefined();
  expect(of('algorithm.lengthReward.tasks.ocr')).toBeUndefined();
});

describe('on the command line', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'g2rpo-presets-'));
    writeFileSync(
      join(dir, 'run.yaml'),
      'preset: paper\noutput: o\npolicy: { path: p }\ndata: { train: t }\ntrain: { steps: 1 }\nrollout: { n: 4 }\n',
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('every value tells that it is of the preset', () => {
    const read = readTrainConfig(join(dir, 'run.yaml'), [{ path: 'rollout.max_tokens', value: 9 }]);
    expect(Object.fromEntries(read.origins)).toMatchObject({
      preset: 'file',
      'rollout.n': 'file',
      'rollout.maxTokens': 'command line',
      'rollout.prompts': 'preset',
      'algorithm.lengthReward.tasks.ocr': 'preset',
      'train.betas': 'preset',
      'rollout.batchPrompts': 'default',
    });
    const text = formatConfig(read);
    expect(text).toMatch(/^ {2}prompts: 512 # preset$/m);
    writeFileSync(join(dir, 'printed.yaml'), text);
    expect(readTrainConfig(join(dir, 'printed.yaml')).config).toEqual(read.config);
  });

  it('a name there takes the place of the one in the file', async () => {
    const { code, stdout } = await g2rpo(['train', join(dir, 'run.yaml'), 'preset=dapo', '--print-config']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^preset: dapo # command line$/m);
    expect(stdout).toMatch(/^ {4}high: 0.28 # preset$/m);
    expect(stdout).toMatch(/^ {2}n: 4 # file$/m);
    const wrong = await g2rpo(['train', join(dir, 'run.yaml'), 'preset=dappo']);
    expect(wrong).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/preset: .*did you mean dapo\?; got "dappo"/),
    });
  });

  it('the tables fit into 100 columns and name everybody', async () => {
    for (const names of [[], ['dapo', 'gspo', 'dapo'], ['paper'], ['dr-grpo']]) {
      const { code, stdout } = await g2rpo(['presets', ...names]);
      expect(code).toBe(0);
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100);
      for (const name of names.length > 0 ? names : PRESETS.keys()) expect(stdout).toContain(name);
    }
    const { stdout } = await g2rpo(['presets', 'dapo']);
    for (const [key, , source] of presetNamed('dapo').values) {
      expect(stdout).toContain(`  ${key} `);
      expect(stdout.replaceAll('\n', ' ')).toContain(source);
    }
    expect(await g2rpo(['presets', 'dapo', 'grop'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/grpo\?/),
    });
  });
});
