import { describe, expect, it } from 'vitest';
import { configKeys, CONFIGURATIONS } from '../../lib/train/configReference.ts';
import { loadSftConfig, loadTrainConfig } from '../../lib/train/config.ts';
import { wordsOf, type JsonSchema } from '../../lib/train/schemaWords.ts';
import { ESTIMATORS } from '../../lib/algorithms/index.ts';
import { g2rpo } from '../support/g2rpo.ts';

const least = { output: '/run', policy: { path: '/policy' } };
const training = (algorithm: object = {}) =>
  loadTrainConfig({ ...least, data: { train: '/a.jsonl' }, train: { steps: 1, updatePrompts: 128 }, algorithm });
const phase = { name: 'one', demonstrations: [{ files: '/a.jsonl' }], steps: 1 };

/** Values by dotted key; entries of lists of keys under `[]`. */
function* leaves(value: unknown, path = ''): Generator<[string, unknown]> {
  const list = Array.isArray(value) && value.some((each) => typeof each === 'object');
  if (list) for (const each of value) yield* leaves(each, `${path}[]`);
  else if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0)
    for (const [key, each] of Object.entries(value)) yield* leaves(each, path ? `${path}.${key}` : key);
  else yield [path, value];
}

describe('the reference of all keys', () => {
  it.each(CONFIGURATIONS)('says of every key of %s what it does and what it may be', (name) => {
    for (const { key, description, type } of configKeys(name)) {
      expect(description, `${key} has no description`).not.toBe('');
      expect(description, key).not.toMatch(/\n|\.$/);
      expect(type, key).not.toBe('');
    }
  });

  it('has every key that a configuration comes to, with its default', () => {
    const found: [string, object][] = [
      ...[...ESTIMATORS.keys()].map((name): [string, object] => ['train', training({ name })]),
      ['sft', loadSftConfig({ ...least, phases: [phase] })],
    ];
    const given = new Set(['output', 'policy.path', 'data.train', 'train.steps', 'algorithm.name']);
    for (const [name, config] of found) {
      const keys = configKeys(name as 'train' | 'sft');
      for (const [key, value] of leaves(config)) {
        // weights by name, and bounds that depend on the loss
        const entries = keys.filter((each) => each.key === key || key.startsWith('algorithm.componentWeights.'));
        expect(entries.length, key).toBeGreaterThan(0);
        if (given.has(key) || key.startsWith('phases') || /clipRange|componentWeights/.test(key)) continue;
        expect(
          entries.map((each) => each.default),
          key,
        ).toContainEqual(value);
      }
    }
  });

  it('says where defaults are from that are not ours, and which estimators have a key', () => {
    const of = (key: string) => configKeys('train').filter((each) => each.key === key);
    expect(of('rollout.maxTokens')).toEqual([
      { key: 'rollout.maxTokens', type: 'whole number from 1', default: 4096, required: false, source: 'arXiv:2604.08539 and its released code', description: 'tokens of a response at most' }, // prettier-ignore
    ]);
    expect(of('rollout.batchPrompts')[0]).not.toHaveProperty('source');
    expect(of('algorithm.mode')[0]!.of).toEqual(['g2rpo']);
    expect(of('algorithm.tieTolerance').map((each) => each.of)).toEqual([['g2rpo'], ['gaussian-gdpo']]);
    expect(of('train.steps')[0]).toMatchObject({ required: true });
  });

  it.each<[string, JsonSchema]>([
    ['whole number from 1', { type: 'integer', minimum: 1, maximum: 2 ** 31 - 1 }],
    ['number above 0 to 1', { type: 'number', exclusiveMinimum: 0, maximum: 1 }],
    ['number up to 1', { type: 'number', maximum: 1 }],
    ['a, b', { type: 'string', enum: ['a', 'b'] }],
    ['text, or list of texts', { anyOf: [{ type: 'string' }, { items: { type: 'string' } }] }],
    ['[number; true or false]', { prefixItems: [{ type: 'number' }, { type: 'boolean' }] }],
    ['by name: number', { type: 'object', additionalProperties: { type: 'number' } }],
  ])('%s', (words, schema) => expect(wordsOf(schema)).toBe(words));
});

describe('g2rpo config', () => {
  it('explains all keys, or some', async () => {
    const all = await g2rpo(['config']);
    expect(all.code).toBe(0);
    for (const { key } of configKeys('train')) expect(all.stdout).toContain(`${key}: `);
    const some = await g2rpo(['config', 'rollout.max_tokens', 'eval', 'data.rollout_batch_size']);
    expect(some.stdout.match(/^\S.*?(?=:)/gm)).toEqual(
      ['rollout.prompts', 'rollout.maxTokens', 'eval.before', 'eval.everySteps', 'eval.batchPrompts', 'eval.samples'], // prettier-ignore
    );
    expect(some.stdout).toMatch(
      /^rollout\.maxTokens: 4096\n {4}tokens of a response at most\n {4}whole number from 1\n {4}default: arXiv/m,
    );
    const phases = await g2rpo(['config', 'phases', '--of', 'sft']);
    expect(phases.stdout).toMatch(/^phases\[\]\.demonstrations\[\]\.files: must be given$/m);
    for (const line of all.stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(200);
  });

  it('knows what there is not', async () => {
    expect(await g2rpo(['config', 'rollout.tempreture'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('train has no key rollout.tempreture; did you mean rollout.temperature?'),
    });
    expect(await g2rpo(['config', '--of', 'eval'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--of must be train, sft, ablate; got eval'),
    });
  });
});
