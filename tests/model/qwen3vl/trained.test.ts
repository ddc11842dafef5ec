import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy, type Recompute } from '../../../lib/model/qwen3vl/policy.ts';
import { matchesName, trainedNames, type TrainedNames } from '../../../lib/model/qwen3vl/trained.ts';
import { mixedBatch, wavyLoss } from '../../support/mixedBatch.ts';
import { writeGoldenCheckpoint, writeNanoMoe } from '../../support/syntheticCheckpoint.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

/** Gradients of whatever a policy trains, by name. */
async function gradientsOf(dir: string, checkpoint: string, trained: TrainedNames, recompute: Recompute = 'none') {
  const policy = await Policy.load(dir, { trained });
  const batch = mixedBatch(checkpoint, checkpoint === 'nano' ? ['batch4', 'mixed'] : ['batch4'], policy.config);
  await policy.forwardBackward(batch, wavyLoss(batch), { temperature: 0.9, recompute });
  const found = new Map<string, Float32Array>();
  for (const { name, gradient } of policy.trained) found.set(name, (await gradient!.read()) as Float32Array);
  const frozen = policy.parameters.filter(({ gradient }) => !gradient).map(({ name }) => name);
  policy.dispose();
  return { found, frozen };
}

const selections: Record<string, TrainedNames> = {
  'no vision tower': { freeze: ['model.visual.*'] },
  'no language model': { freeze: ['model.language_model.*'] },
  'the embedding': { only: ['*.embed_tokens.weight'] },
  'all but the embedding': { freeze: ['*.embed_tokens.weight'] },
  'the final norm': { only: ['model.language_model.norm.weight'] },
  'the last layer': { only: ['model.language_model.layers.1.*'] },
  'a norm of the first layer': { only: ['model.language_model.layers.0.input_layernorm.weight'] },
  'norms and biases': { only: ['*norm*', '*.bias'] },
  'biases alone': { only: ['*.bias'] },
  'weights without biases': { freeze: ['*.bias'] },
  'the merger': { only: ['model.visual.merger.*'] },
  'the norm of the merger': { only: ['model.visual.merger.norm.bias'] },
  'the deepstack mergers': { only: ['model.visual.deepstack_merger_list.*'] },
  'the norm of a deepstack merger': { only: ['model.visual.deepstack_merger_list.0.norm.weight'] },
  'the last vision block': { only: ['model.visual.blocks.1.*'] },
  'the positions': { only: ['model.visual.pos_embed.weight'] },
  'the bias of the patches': { only: ['model.visual.patch_embed.proj.bias'] },
};

const experts: Record<string, TrainedNames> = {
  'the routers': { only: ['*.mlp.gate.weight'] },
  'experts of the last layer': { only: ['model.language_model.layers.1.mlp.experts.*'] },
  'all but the experts': { freeze: ['*.experts.*'] },
  'what experts end with': { only: ['*.experts.down_proj'] },
};

describe.each<[string, string, () => Promise<string>]>([
  ['nano', 'nano', () => writeGoldenCheckpoint('nano')],
  ['tiny-untied', 'tiny-untied', () => writeGoldenCheckpoint('tiny-untied')],
  ['nano with experts', 'nano', () => writeNanoMoe()],
])('what is trained of %s', (kind, checkpoint, write) => {
  let dir: string;
  let all: Map<string, Float32Array>;
  beforeAll(async () => {
    dir = await write();
    all = (await gradientsOf(dir, checkpoint, {})).found;
  });

  const chosen = { ...selections, ...(kind.endsWith('experts') && experts) };
  it.each(Object.entries(chosen))('gets the gradient of the full run, bit for bit: %s', async (_, trained) => {
    const { found, frozen } = await gradientsOf(dir, checkpoint, trained);
    expect([...found.values()].some((gradient) => gradient.some((g) => g !== 0))).toBe(true);
    expect(found.size + frozen.length).toBe(all.size);
    for (const [name, gradient] of found) {
      expect(Buffer.from(gradient.buffer).equals(Buffer.from(all.get(name)!.buffer)), name).toBe(true);
    }
  });

  it.each(['selective', 'full'] as const)('gets it where activations are computed again: %s', async (recompute) => {
    for (const name of ['no vision tower', 'the deepstack mergers', 'the last vision block', 'the last layer']) {
      const { found } = await gradientsOf(dir, checkpoint, selections[name]!, recompute);
      for (const [parameter, gradient] of found) expect(gradient, parameter).toEqual(all.get(parameter));
    }
  });

  if (checkpoint === 'tiny-untied')
    it('gets it of an untied head alone', async () => {
      const { found } = await gradientsOf(dir, checkpoint, { only: ['lm_head.weight'] });
      expect([...found.keys()]).toEqual(['lm_head.weight']);
      expect(found.get('lm_head.weight')).toEqual(all.get('lm_head.weight'));
    });
});

describe('patterns of names', () => {
  const names = ['lm_head.weight', 'model.visual.merger.norm.weight', 'model.visual.merger.norm.bias'];
  it('are whole names, in which a star stands for any text', () => {
    expect([...trainedNames(names, {})]).toEqual(names);
    expect([...trainedNames(names, { freeze: ['model.visual.*'] })]).toEqual(['lm_head.weight']);
    expect([...trainedNames(names, { only: ['*.bias', 'lm_head.weight'] })]).toEqual([names[0], names[2]]);
    expect(thrownBy(() => trainedNames(names, { only: ['lm_head'] }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/^train\.only: "lm_head" is the name of no parameter/),
    });
  });

  it.each([
    ['a.b', 'a.b', true],
    ['a.b', 'axb', false],
    ['*', '', true],
    ['a*', 'a', true],
    ['*a', 'ba', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'a.c.b.c', true],
    ['a*b*c', 'a.c.b', false],
    ['ab*bc', 'abc', false],
    [`${'*'.repeat(60)}x`, 'model.language_model.layers.0.self_attn.q_proj.weight', false], // in no time
  ])('%s and %s: %s', (pattern, name, matches) => expect(matchesName(pattern, name)).toBe(matches));

  it('that name nothing, or leave nothing, are refused', () => {
    expect(thrownBy(() => trainedNames(names, { freeze: ['model.visial.*'] })).message).toBe(
      'train.freeze: "model.visial.*" is the name of no parameter; did you mean model.visual.*?',
    );
    expect(thrownBy(() => trainedNames(names, { freeze: ['*'] })).message).toMatch(/nothing is left to train/);
  });
});

describe('a policy without gradients', () => {
  let policy: Policy;
  beforeAll(async () => {
    policy = await Policy.load(await writeGoldenCheckpoint('nano'), { trained: false });
  });
  afterAll(() => policy.dispose());

  it('says log-probabilities, and trains nothing', async () => {
    expect(policy.trained).toEqual([]);
    const batch = mixedBatch('nano', ['mixed'], policy.config);
    const { logProbs } = await policy.forward(batch);
    const scores = await policy.forwardBackward(batch, wavyLoss(batch));
    expect(scores.logProbs).toEqual(logProbs);
    expect(await rejectionOf(policy.saveAdapter('nowhere'))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
