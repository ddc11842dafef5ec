import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packPrompts } from '../../lib/model/qwen3vl/policyBatch.ts';
import { Policy, type PolicyOptions, type Recompute } from '../../lib/model/qwen3vl/policy.ts';
import { parameterCount, tensorNames } from '../../lib/model/qwen3vl/tensorNames.ts';
import { packageRoot } from '../../lib/runtime/native.ts';
import type { Tensor } from '../../lib/runtime/tensor.ts';
import { limitMemory, memoryUse } from '../../lib/runtime/memory.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { gradientsAtOnce } from '../../lib/train/trainedSize.ts';
import { createOptimizer, type Optimizer, type OptimizerConfig } from '../../lib/train/optimizer.ts';
import { shippedPrompts } from '../support/askedPrompts.ts';
import { mixedBatch, wavyLoss } from '../support/mixedBatch.ts';
import { onCpu, wantCpu } from '../support/onCpu.ts';
import { writeGoldenCheckpoint, writeNanoMoe } from '../support/syntheticCheckpoint.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const base = { betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 0 } as const;
const LORA = { rank: 2, alpha: 4, targets: ['q_proj', 'down_proj', 'qkv'], seed: 1 };

const checkpoints = {
  nano: () => writeGoldenCheckpoint('nano'),
  'tiny-untied': () => writeGoldenCheckpoint('tiny-untied'),
  'nano with experts': () => writeNanoMoe(),
};
type Checkpoint = keyof typeof checkpoints;
const dirs = new Map<Checkpoint, Promise<string>>();
const dirOf = (checkpoint: Checkpoint) => {
  if (!dirs.has(checkpoint)) dirs.set(checkpoint, checkpoints[checkpoint]());
  return dirs.get(checkpoint)!;
};
const batchOf = (checkpoint: Checkpoint, { config }: Policy) =>
  checkpoint === 'tiny-untied'
    ? mixedBatch('tiny-untied', ['batch4'], config)
    : mixedBatch('nano', checkpoint === 'nano' ? ['batch4', 'mixed'] : ['batch4'], config);

interface Settings {
  policy?: PolicyOptions;
  optimizer?: Partial<OptimizerConfig>;
  recompute?: Recompute;
}

/** A hash of their bits: comparing the numbers would take longer than computing them. */
async function bitsOf(tensors: readonly Tensor[]): Promise<string> {
  const hash = createHash('sha256');
  for (const each of tensors) hash.update(Buffer.from((await each.read()).buffer));
  return hash.digest('hex');
}

/** One update of a batch, in its backward pass or after it. */
async function update(policy: Policy, optimizer: Optimizer, checkpoint: Checkpoint, recompute: Recompute = 'none') {
  const batch = batchOf(checkpoint, policy);
  const made = optimizer.inBackward(1e-3);
  if (!made) policy.zeroGradients();
  const scores = await policy.forwardBackward(batch, wavyLoss(batch), { temperature: 0.9, recompute, update: made });
  const step = await optimizer.step(1e-3, scores.squaredNorm);
  policy.refresh();
  return { logProbs: scores.logProbs, loss: scores.loss, gradNorm: step.gradNorm };
}

/** Everything that three updates leave, and what they told. */
async function outcome(
  checkpoint: Checkpoint,
  inBackward: boolean,
  { policy: how, optimizer: kind, recompute }: Settings,
) {
  const policy = await Policy.load(await dirOf(checkpoint), { ...how, keepGradients: !inBackward });
  const optimizer = createOptimizer(policy.trained, { ...base, ...kind, optimizerInBackward: inBackward });
  const told = [];
  for (let step = 0; step < 3; step++) told.push(await update(policy, optimizer, checkpoint, recompute));
  const bits = new Map<string, unknown>();
  for (const { name, weight } of policy.trained) bits.set(name, await bitsOf([weight]));
  for (const { name, tensor } of optimizer.state) bits.set(name, await bitsOf([tensor]));
  optimizer.dispose();
  policy.dispose();
  return { told, bits, updates: optimizer.updates };
}

const kinds: Record<string, Settings> = {
  'all weights': {},
  'activations computed again': { recompute: 'full' },
  'moments of 8 bits': { optimizer: { optimizer: 'adamw8bit' } },
  'a frozen tower': { policy: { trained: { freeze: ['model.visual.*'] } } },
  'the tower alone': { policy: { trained: { only: ['model.visual.*'] } } },
  'the last layer': { policy: { trained: { only: ['model.language_model.layers.1.*'] } } },
  'no embedding': { policy: { trained: { freeze: ['*embed_tokens.weight'] } } },
  'weights in bf16, rounded at random': { policy: { dtype: 'bf16' } },
  'weights in bf16 with moments of 8 bits': { policy: { dtype: 'bf16' }, optimizer: { optimizer: 'adamw8bit' } },
  'weights in bf16 with masters': { policy: { dtype: 'bf16' }, optimizer: { masterWeights: true } },
  f64: { policy: { dtype: 'f64' } },
};
const adapted: Record<string, Settings> = {
  adapters: { policy: { lora: LORA } },
  'adapters of weights in bf16': { policy: { dtype: 'bf16', lora: LORA }, optimizer: { optimizer: 'adamw8bit' } },
};

const FEW = ['all weights', 'a frozen tower', 'weights in bf16 with masters', 'adapters'];
describe.each(Object.keys(checkpoints) as Checkpoint[])('updates made in the backward pass of %s', (checkpoint) => {
  const moe = checkpoint === 'nano with experts';
  const chosen = Object.entries({ ...kinds, ...(!moe && adapted) });
  const large = checkpoint === 'tiny-untied' || !onCpu; // takes ten times as long, on an emulated device too
  it.each(large ? chosen.filter(([kind]) => FEW.includes(kind)) : chosen)(
    'leave the bits of those that come after it: %s',
    { timeout: 300_000 }, // on an emulated device
    async (_, settings) => {
      const [after, within] = [await outcome(checkpoint, false, settings), await outcome(checkpoint, true, settings)];
      expect(within.updates).toBe(3);
      expect([...within.bits.keys()]).toEqual([...after.bits.keys()]);
      for (const [name, values] of after.bits) expect(within.bits.get(name), name).toBe(values);
      within.told.forEach(({ gradNorm, ...told }, step) => {
        const { gradNorm: wanted, ...others } = after.told[step]!;
        expect(told).toEqual(others);
        expect(gradNorm / wanted).toBeCloseTo(1, 12); // added tensor by tensor, on a GPU block by block
      });
    },
  );
});

it('policies that train at once leave the bits of each alone', { timeout: 120_000 }, async () => {
  const runs = [
    () => outcome('nano', false, {}),
    () => outcome('nano', false, { policy: { dtype: 'bf16' } }),
    () => outcome('nano with experts', true, {}),
  ];
  const alone = [];
  for (const run of runs) alone.push(await run());
  expect(await Promise.all(runs.map((run) => run()))).toEqual(alone);
});

describe('memory', () => {
  it('holds the gradients of one part at a time', async () => {
    // an untied policy, so that no gradient waits for another part
    const peaks: number[] = [];
    let [all, largest] = [0, 0];
    for (const inBackward of [false, true]) {
      const before = memoryUse().bytes;
      const policy = await Policy.load(await dirOf('tiny-untied'), { keepGradients: !inBackward });
      const optimizer = createOptimizer(policy.trained, { ...base, optimizerInBackward: inBackward });
      await update(policy, optimizer, 'tiny-untied'); // scratch is one piece by then
      limitMemory(Infinity); // the peak begins anew
      await update(policy, optimizer, 'tiny-untied');
      peaks.push(memoryUse().peak - before);
      all = 4 * parameterCount(policy.config);
      largest = 4 * gradientsAtOnce(tensorNames(policy.config), {});
      optimizer.dispose();
      policy.dispose();
      await expect.poll(() => memoryUse().bytes).toBe(before);
    }
    const saved = peaks[0]! - peaks[1]!;
    expect(largest).toBeLessThan(all / 5);
    // where the peak is, in the first layer of the backward pass, its gradients are there, and hardly anything else of them
    expect(saved).toBeGreaterThan(all - 1.1 * largest);
    expect(saved).toBeLessThanOrEqual(all);
  });
});

it('of a batch without pictures moves the tower too, by what it remembers and by decay', async () => {
  const after: string[] = [];
  for (const inBackward of [false, true]) {
    const policy = await Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'), {
      keepGradients: !inBackward,
    });
    const settings = { ...base, weightDecay: 0.01, optimizerInBackward: inBackward };
    const optimizer = createOptimizer(policy.trained, settings);
    const prompts = await shippedPrompts(policy);
    for (const which of ['shown', 'short'] as const) {
      const targets = { targetRows: Int32Array.of(3, 4), targetIds: Int32Array.of(7, 8) };
      const batch = { ...packPrompts([prompts[which]], policy.config.vision.merge), ...targets };
      expect(batch.images).toHaveLength(which === 'shown' ? 1 : 0);
      if (!inBackward) policy.zeroGradients();
      const made = optimizer.inBackward(1e-3);
      const { squaredNorm } = await policy.forwardBackward(batch, likelihood(2), { update: made });
      await optimizer.step(1e-3, squaredNorm);
    }
    after.push(await bitsOf([...policy.trained.map(({ weight }) => weight), ...optimizer.state.map((s) => s.tensor)]));
    optimizer.dispose();
    policy.dispose();
  }
  expect(after[1]).toBe(after[0]);
});

describe('what fails', () => {
  const open = async (changes: PolicyOptions = {}) => {
    const policy = await Policy.load(await dirOf('nano'), { keepGradients: false, ...changes });
    return { policy, optimizer: createOptimizer(policy.trained, { ...base, optimizerInBackward: true }) };
  };
  const close = ({ policy, optimizer }: { policy: Policy; optimizer: Optimizer }) => {
    optimizer.dispose();
    policy.dispose();
  };
  const valuesOf = ({ policy, optimizer }: { policy: Policy; optimizer: Optimizer }) =>
    bitsOf([...policy.trained.map(({ weight }) => weight), ...optimizer.state.map(({ tensor }) => tensor)]);

  it('before a parameter has moved leaves everything as it was', async () => {
    const trainee = await open();
    const { policy, optimizer } = trainee;
    const before = await valuesOf(trainee);
    const batch = batchOf('nano', policy);
    const loss = wavyLoss(batch);
    loss.weights[1] = NaN;
    expect(
      await rejectionOf(policy.forwardBackward(batch, loss, { update: optimizer.inBackward(1e-3) })),
    ).toMatchObject({
      code: 'NON_FINITE',
      message: expect.not.stringContaining('in the middle') as string,
    });
    expect(await valuesOf(trainee)).toEqual(before);
    expect(optimizer.updates).toBe(0);
    await update(policy, optimizer, 'nano');
    close(trainee);
  });

  it('after some have moved is told by everything that is asked of them', async () => {
    const trainee = await open();
    const { policy, optimizer } = trainee;
    // slopes so steep that what they leave further down is beyond f32; AdamW does not mind
    const batch = batchOf('nano', policy);
    const steep = (scale: number) => {
      const loss = wavyLoss(batch);
      return { ...loss, weights: loss.weights.map((w) => scale * w) };
    };
    const passes = async (scale: number) => {
      const fresh = await open();
      const options = { update: fresh.optimizer.inBackward(1e-3) };
      return fresh.policy
        .forwardBackward(batch, steep(scale), options)
        .then(
          () => true,
          () => false,
        )
        .finally(() => close(fresh));
    };
    let scale = 1e36;
    while (await passes(scale)) scale *= 3;
    const error = await rejectionOf(
      policy.forwardBackward(batch, steep(scale), { update: optimizer.inBackward(1e-3) }),
    );
    expect(error.code).toBe('NON_FINITE');
    expect(error.message).toMatch(
      /^the gradient of .* is not finite, in the middle of an update: some parameters have moved/,
    );
    expect(optimizer.updates).toBe(0);
    for (const asked of [
      () => policy.forward(batchOf('nano', policy)),
      () => policy.trained.at(-1)!.weight.read(),
      () => optimizer.state[0]!.tensor.read(),
      () => update(policy, optimizer, 'nano'),
    ])
      expect(await rejectionOf(asked())).toMatchObject({ code: 'NON_FINITE', message: error.message });
    close(trainee);
  });

  it('for want of memory, wherever it is short, leaves a policy as it was: less and less is held once a part is finished', async ({
    skip,
  }) => {
    wantCpu(skip, 'tests/runtime/deviceFaults.test.ts refuses allocations of a device');
    const probe = await open();
    await update(probe.policy, probe.optimizer, 'nano', 'full');
    const { bytes } = memoryUse();
    limitMemory(Infinity);
    await update(probe.policy, probe.optimizer, 'nano', 'full');
    const { peak } = memoryUse();
    close(probe);
    await expect.poll(() => memoryUse().bytes).toBeLessThan(bytes);
    for (let share = 0.05; share < 1; share += 0.05) {
      const trainee = await open();
      const before = await valuesOf(trainee);
      limitMemory(memoryUse().bytes + share * (peak - bytes));
      const error = await rejectionOf(update(trainee.policy, trainee.optimizer, 'nano', 'full'));
      expect(error.code).toBe('OUT_OF_MEMORY');
      expect(error.message).not.toContain('in the middle of an update');
      limitMemory(Infinity);
      expect(await valuesOf(trainee)).toEqual(before);
      close(trainee);
    }
  });

  it('an update where gradients are kept, or none where they are not', async () => {
    const trainee = await open();
    const { policy, optimizer } = trainee;
    const batch = batchOf('nano', policy);
    expect(await rejectionOf(policy.forwardBackward(batch, wavyLoss(batch)))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/gradients of this policy are not kept; give an update/) as string,
    });
    expect(await rejectionOf(optimizer.step(1e-3))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    const kept = await Policy.load(await dirOf('nano'));
    const refused = kept.forwardBackward(batch, wavyLoss(batch), { update: optimizer.inBackward(1e-3) });
    expect(await rejectionOf(refused)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/update is of a policy whose gradients are not kept/) as string,
    });
    const fewer = { ...optimizer.inBackward(1e-3)!, tensors: optimizer.inBackward(1e-3)!.tensors.slice(1) };
    expect(await rejectionOf(policy.forwardBackward(batch, wavyLoss(batch), { update: fewer }))).toMatchObject({
      code: 'SHAPE_MISMATCH',
    });
    const clipped = thrownBy(() =>
      createOptimizer(policy.trained, { ...base, maxGradNorm: 1, optimizerInBackward: true }),
    );
    expect(clipped).toMatchObject({ code: 'INVALID_ARGUMENT' });
    kept.dispose();
    close(trainee);
  });
});

describe('scalars that no update could be made with', () => {
  const scalars = { learningRate: 1e-3, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, step: 1, gradientScale: 1 }; // prettier-ignore
  it.for([
    [{ learningRate: NaN }, 'update.learningRate must be a number from 0; got NaN'],
    [{ learningRate: -1 }, 'update.learningRate must be a number from 0; got -1'],
    [{ epsilon: NaN }, 'update.epsilon must be a number from 0; got NaN'],
    [{ weightDecay: Infinity }, 'update.weightDecay must be a number from 0; got Infinity'],
    [{ beta2: 1 }, 'update.beta2 must be in [0, 1); got 1'],
    [{ step: 0 }, 'update.step must be a whole number from 1; got 0'],
    [{ gradientScale: 0.5 }, 'update.gradientScale must be 1 in a backward pass; got 0.5'],
    [{ foo: 1 }, 'update must hold none but'],
    [{ tensors: null }, 'update.tensors must be a list'],
  ] as [object, string][])('are refused before anything moves: %j', async ([change, message]) => {
    const policy = await Policy.load(await dirOf('nano'), { keepGradients: false });
    const before = await bitsOf(policy.parameters.map(({ weight }) => weight));
    const batch = batchOf('nano', policy);
    const wrong = { ...scalars, tensors: [], ...change } as never;
    const error = await rejectionOf(policy.forwardBackward(batch, wavyLoss(batch), { update: wrong }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) });
    expect(await bitsOf(policy.parameters.map(({ weight }) => weight))).toBe(before);
    policy.dispose();
  });
});

it('a batch and a loss that are changed behind the call are those of the call', async () => {
  const policy = await Policy.load(await dirOf('nano'));
  const passed = async (spoil: boolean) => {
    policy.zeroGradients();
    const own = batchOf('nano', policy);
    const [batch, loss] = [
      { ...own, inputIds: own.inputIds.slice(), segmentStarts: own.segmentStarts.slice() },
      wavyLoss(own),
    ];
    const running = policy.forwardBackward(batch, loss);
    if (spoil) for (const list of [batch.inputIds, batch.segmentStarts, loss.advantages, loss.weights]) list.fill(0);
    await running;
    return bitsOf(policy.trained.map(({ gradient }) => gradient!));
  };
  const want = await passed(false);
  expect(await passed(true)).toBe(want);
  policy.dispose();
});
