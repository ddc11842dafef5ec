import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { initialLora, loraTargets, type LoraOptions } from '../../../lib/model/qwen3vl/lora.ts';
import { Policy, type PolicyOptions } from '../../../lib/model/qwen3vl/policy.ts';
import { tensorNames } from '../../../lib/model/qwen3vl/tensorNames.ts';
import { createOptimizer } from '../../../lib/train/optimizer.ts';
import { expectFiniteDifferences } from '../../support/finiteDifferences.ts';
import { mixedBatch, wavyLoss } from '../../support/mixedBatch.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

const lora: LoraOptions = {
  rank: 3,
  alpha: 6,
  targets: ['q_proj', 'v_proj', 'down_proj', 'model.visual.*.qkv', 'merger.linear_fc1'],
  seed: 5,
};
const optimizer = { betas: [0.9, 0.999] as [number, number], epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 };
let base: string;
const folder = () => mkdtempSync(join(tmpdir(), 'g2rpo-lora-'));
const load = (options: PolicyOptions) => Policy.load(base, options);
const batchOf = (policy: Policy) => mixedBatch('nano', ['batch4', 'mixed'], policy.config);

beforeAll(async () => {
  base = await writeGoldenCheckpoint('nano', { dtype: 'float32' });
});

/** A policy whose adapters have been trained for some updates. */
async function trainedPolicy(options: PolicyOptions = { lora }, updates = 3): Promise<Policy> {
  const policy = await load(options);
  const adam = createOptimizer(policy.trained, optimizer);
  const batch = batchOf(policy);
  for (let i = 0; i < updates; i++) {
    policy.zeroGradients();
    await policy.forwardBackward(batch, wavyLoss(batch));
    await adam.step(1e-2);
    policy.refresh();
  }
  adam.dispose();
  return policy;
}

describe('an adapter', () => {
  it('changes nothing at first, and then what it was trained to', async () => {
    const plain = await load({ trained: false });
    const fresh = await load({ lora });
    const batch = batchOf(plain);
    const before = await plain.forward(batch);
    expect(await fresh.forward(batch)).toEqual(before);
    const trained = await trainedPolicy();
    const after = await trained.forward(batch);
    expect(after.logProbs.some((l, i) => Math.abs(l - before.logProbs[i]!) > 1e-3)).toBe(true);
    for (const policy of [plain, fresh, trained]) policy.dispose();
  });

  it('leaves the weights that it does not change as they are, and trains itself alone', async () => {
    const policy = await trainedPolicy();
    const plain = await load({ trained: false });
    expect(policy.trained.every(({ name }) => /\.lora_[AB]\.weight$/.test(name))).toBe(true);
    const changed = new Set(policy.trained.map(({ name }) => name.replace(/\.lora_[AB]/, '')));
    expect(changed.size).toBe(policy.trained.length / 2);
    for (const [k, { name, weight, gradient }] of policy.parameters.entries()) {
      expect(gradient).toBeUndefined();
      const same = Buffer.from((await weight.read()).buffer).equals(
        Buffer.from((await plain.parameters[k]!.weight.read()).buffer),
      );
      expect(same, name).toBe(!changed.has(name));
    }
    policy.dispose();
    plain.dispose();
  });

  it('has the gradients of finite differences, in f64', async () => {
    const policy = await trainedPolicy({ lora, dtype: 'f64' }, 1); // b is 0 before
    const batch = batchOf(policy);
    const loss = wavyLoss(batch);
    const objective = async () => {
      policy.refresh();
      const { logProbs, entropy } = await policy.forward(batch, { temperature: 0.9 });
      return Array.from(logProbs).reduce(
        (s, l, i) => s - loss.weights[i]! * loss.advantages[i]! * l + loss.entropySlopes[i]! * entropy[i]!,
        0,
      );
    };
    policy.zeroGradients();
    await policy.forwardBackward(batch, loss, { temperature: 0.9 });
    await expectFiniteDifferences(policy, objective);
    policy.dispose();
  });

  it('is in a merged checkpoint, and in one of its own: log-probabilities and greedy tokens are the same bits', async () => {
    const policy = await trainedPolicy();
    const [merged, adapter] = [join(folder(), 'merged'), join(folder(), 'adapter')];
    await policy.save(merged, { dtype: 'float32' });
    await policy.saveAdapter(adapter);
    const batch = batchOf(policy);
    const wanted = await policy.forward(batch);
    const prompt = await policy.encode([{ type: 'text', text: 'ab' }]);
    const tokens = async (p: Policy) => (await p.generate([prompt], { maxTokens: 6, temperature: 0 }))[0]![0]!.tokens;
    const greedy = await tokens(policy);
    for (const other of [
      await Policy.load(merged, { trained: false }),
      await load({ trained: false, adapter }),
      await load({ adapter }),
      await load({ lora, adapter }),
    ]) {
      expect(await other.forward(batch)).toEqual(wanted);
      expect(await tokens(other)).toEqual(greedy);
      other.dispose();
    }
    policy.dispose();
  });

  it('goes on being trained from its folder as if it had not been away, but for the optimizer', async () => {
    const dir = join(folder(), 'adapter');
    const one = await trainedPolicy();
    await one.saveAdapter(dir);
    const again = await trainedPolicy({ lora, adapter: dir }, 0);
    for (const [k, { weight }] of one.trained.entries())
      expect(await again.trained[k]!.weight.read()).toEqual(await weight.read());
    one.dispose();
    again.dispose();
  });
});

describe('what is adapted', () => {
  const tensors = () => tensorNames(config);
  let config: Policy['config'];
  beforeAll(async () => {
    const policy = await load({ trained: false });
    config = policy.config;
    policy.dispose();
  });

  it('is named by the last part of a name, or by a pattern', () => {
    const names = (targets: string[]) => loraTargets(tensors(), { targets, rank: 2 }).map(({ name }) => name);
    expect(names(['q_proj'])).toHaveLength(config.text.layers);
    expect(names(['model.language_model.layers.0.*'])).toHaveLength(7);
    expect(names(['layers.0.mlp.*'])).toHaveLength(3);
    expect(names(['proj'])).toHaveLength(config.vision.depth); // the patches are no linear map
    expect(names(['*'])).toHaveLength(
      7 * config.text.layers + 4 * config.vision.depth + 2 + 2 * config.vision.taps.length,
    );
  });

  it('has no rank above the smaller side of a matrix', () => {
    const error = thrownBy(() => loraTargets(tensors(), { targets: ['q_proj'], rank: 1e9 }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.message).toMatch(
      /^train\.lora\.rank: must be at most \d+, the smaller side of model\..*q_proj\.weight \[.*; got 1000000000$/,
    );
  });

  it.each([
    ['q_prj', 'names no linear map of this policy; did you mean q_proj?'],
    [
      'embed_tokens',
      'names model.language_model.embed_tokens, which is no linear map inside a layer and cannot be adapted',
    ],
  ])('is refused where there is none: %s', (target, message) => {
    expect(thrownBy(() => loraTargets(tensors(), { targets: [target], rank: 2 }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: `train.lora.targets: "${target}" ${message}`,
    });
  });

  it('begins with uniform numbers of its own in ±1/√in, and zeros', () => {
    const { a, b } = initialLora('x', [5, 400], 7, 1);
    expect(b.every((v) => v === 0)).toBe(true);
    expect(Math.max(...a)).toBeLessThan(1 / 20);
    expect(Math.max(...a)).toBeGreaterThan(0.99 / 20);
    expect(Math.min(...a)).toBeLessThan(-0.99 / 20);
    expect(a.reduce((s, v) => s + v * v, 0) / a.length).toBeCloseTo(1 / 1200, 4);
    expect(initialLora('x', [5, 400], 7, 1).a).toEqual(a);
    expect(initialLora('x', [5, 400], 7, 2).a).not.toEqual(a);
    expect(initialLora('y', [5, 400], 7, 1).a).not.toEqual(a);
  });
});

describe('the folder of an adapter', () => {
  let dir: string;
  beforeAll(async () => {
    dir = join(folder(), 'adapter');
    const policy = await load({ lora: { ...lora, targets: ['q_proj', 'v_proj'] } });
    await policy.saveAdapter(dir);
    await policy.saveAdapter(dir); // takes the place of the first
    policy.dispose();
  });
  const spoilt = (change: object): string => {
    const other = join(folder());
    const config = JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8')) as object;
    writeFileSync(join(other, 'adapter_config.json'), JSON.stringify({ ...config, ...change }));
    writeFileSync(join(other, 'adapter_model.safetensors'), readFileSync(join(dir, 'adapter_model.safetensors')));
    return other;
  };

  it('says what PEFT wants to know', () => {
    expect(JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'LORA',
      r: 3,
      lora_alpha: 6,
      target_modules: ['q_proj', 'v_proj'],
      base_model_name_or_path: base,
    });
  });

  it.each([
    [{ peft_type: 'IA3' }, /peft_type must be "LORA"; got "IA3"/],
    [{ r: 0 }, /r must be a whole number from 1; got 0/],
    [{ r: 4 }, /q_proj\.lora_A\.weight must be \[4, \d+\]; got \[3, \d+\]/],
    [{ use_dora: true }, /use_dora is not supported; got true/],
    [{ rank_pattern: { q_proj: 8 } }, /rank_pattern is not supported/],
    [{ bias: 'all' }, /bias must be "none"; got "all"/],
  ])('is refused if it is more, or wrong: %j', async (change, message) => {
    expect(await rejectionOf(load({ adapter: spoilt(change) }))).toMatchObject({
      code: 'INVALID_CHECKPOINT',
      message: expect.stringMatching(message),
    });
  });

  it('is trained on only as what it is', async () => {
    const refusal = (change: Partial<LoraOptions>) =>
      rejectionOf(load({ adapter: dir, lora: { ...lora, targets: ['q_proj', 'v_proj'], ...change } }));
    expect((await refusal({ rank: 2 })).message).toMatch(/^train\.lora\.rank must be as in the adapter .*: 3; got 2$/);
    expect((await refusal({ alpha: 3 })).message).toMatch(
      /^train\.lora\.alpha must be as in the adapter .*: 6; got 3$/,
    );
    for (const targets of [['q_proj'], ['q_proj', 'k_proj', 'v_proj']])
      expect(await refusal({ targets })).toMatchObject({ code: 'INVALID_CONFIG' });
  });
});
