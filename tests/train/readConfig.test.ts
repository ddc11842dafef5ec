import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatConfig, readSftConfig, readTrainConfig } from '../../lib/train/readConfig.ts';
import { thrownBy } from '../support/thrown.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'g2rpo-config-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function file(text: string): string {
  const path = join(dir, 'run.yaml');
  writeFileSync(path, text);
  return path;
}

const RUN = `
# a run
output: runs/one
policy: { path: policy }
data:
  train: train.jsonl
  rollout_batch_size: 4 # as EasyR1 calls it
rollout: { n: 2 }
train: { steps: 3, update-prompts: 2 }
`;

describe('a file with changes', () => {
  it('every value has an origin', () => {
    const { config, origins } = readTrainConfig(file(RUN), [
      { path: 'rollout.temperature', value: 0.5 },
      { path: 'worker.rollout.n', value: 8 },
      { path: 'algorithm.clip_range', value: { low: 0.1 } },
    ]);
    expect(config.rollout).toMatchObject({ prompts: 4, n: 8, temperature: 0.5, topP: 1 });
    expect(config.algorithm.clipRange.low).toBe(0.1);
    expect(Object.fromEntries(origins)).toMatchObject({
      output: 'file',
      'data.train': 'file',
      'rollout.prompts': 'file',
      'train.updatePrompts': 'file',
      'rollout.n': 'command line',
      'rollout.temperature': 'command line',
      'algorithm.clipRange.low': 'command line',
      'algorithm.clipRange.high': 'default',
      'train.betas': 'default',
      'rollout.topP': 'default',
    });
  });

  it('paths of the file start at its folder, those of changes at the working directory', () => {
    const { config } = readTrainConfig(file(RUN), [
      { path: 'output', value: 'runs/two' },
      { path: 'data.val_files', value: ['a.jsonl', '/b.jsonl'] },
    ]);
    expect(config.data.train).toEqual([join(dir, 'train.jsonl')]);
    expect(config.policy.path).toBe(join(dir, 'policy'));
    expect(config.output).toBe(resolve('runs/two'));
    expect(config.data.validation).toEqual([resolve('a.jsonl'), '/b.jsonl']);
  });

  it('what is printed is YAML that means the same', () => {
    const read = readTrainConfig(file(RUN), [{ path: 'rollout.n', value: 8 }]);
    const text = formatConfig(read);
    expect(text).toMatch(/^ {2}n: 8 # command line$/m);
    expect(text).toMatch(/^ {2}prompts: 4 # file$/m);
    expect(text).toMatch(/^ {2}betas: \[0.9, 0.999\] # default$/m);
    expect(text).toMatch(/^ {2}train: \[.*train\.jsonl\] # file$/m);
    expect(readTrainConfig(file(text)).config).toEqual(read.config);
  });

  it('elements of a list are changed by their index', () => {
    const text = `
output: out
policy: { path: p }
phases:
  - { name: eyes, demonstrations: [{ files: a.jsonl }], steps: 5 }
  - { name: words, demonstrations: [{ files: b.jsonl }], steps: 6 }
`;
    const { config, origins } = readSftConfig(file(text), [{ path: 'phases.1.steps', value: 60 }]);
    expect(config.phases.map(({ steps }) => steps)).toEqual([5, 60]);
    expect(origins.get('phases.0.steps')).toBe('file');
    expect(origins.get('phases.1.steps')).toBe('command line');
    const printed = formatConfig({ config, origins });
    expect(readSftConfig(file(printed)).config).toEqual(config);
  });
});

describe('a mistake', () => {
  it.each([
    [
      [{ path: 'rollout.tempreture', value: 1 }],
      /rollout\.tempreture: there is no such key; did you mean rollout\.temperature\?/,
    ],
    [[{ path: 'rolout', value: 1 }], /did you mean rollout\?/],
    [[{ path: 'rollout.n', value: 'many' }], /rollout\.n.*"many"/],
    [[{ path: 'train.steps.more', value: 1 }], /train\.steps/],
  ])('in %j is refused', (changes, message) => {
    const error = thrownBy(() => readTrainConfig(file(RUN), changes));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.message).toMatch(message);
  });

  it('in the file is told with its place', () => {
    expect(thrownBy(() => readTrainConfig(join(dir, 'none.yaml')))).toMatchObject({ code: 'IO' });
    const torn = thrownBy(() => readTrainConfig(file('a: [1,\nb: 2')));
    expect(torn).toMatchObject({ code: 'INVALID_CONFIG' });
    expect(torn.message).toMatch(/run\.yaml: .*line \d/);
    expect(thrownBy(() => readTrainConfig(file('a: 1\na: 2'))).message).toMatch(/unique/);
    expect(thrownBy(() => readTrainConfig(file('[1, 2]'))).message).toMatch(/mapping/);
    expect(thrownBy(() => readTrainConfig(file(''))).message).toMatch(/output/);
  });
});
