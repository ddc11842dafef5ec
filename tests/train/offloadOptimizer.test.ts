import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { squaredNorm } from '../../lib/kernels/squaredNorm.ts';
import { Policy, type PolicyBatch, type PolicyOptions } from '../../lib/model/qwen3vl/policy.ts';
import { environment } from '../../lib/runtime/env.ts';
import { limitMemory, memoryUse } from '../../lib/runtime/memory.ts';
import { keepOnHost, tensor, zerosOnHost, type Tensor } from '../../lib/runtime/tensor.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { createOptimizer, type Optimizer, type OptimizerConfig } from '../../lib/train/optimizer.ts';
import { openTrainee } from '../../lib/train/trainee.ts';
import { useEmulatedDevice } from '../support/emulatedDevice.ts';
import { waves, wavyLoss } from '../support/mixedBatch.ts';
import { writeGoldenCheckpoint } from '../support/syntheticCheckpoint.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

// on the emulated device where there is one, whose copies beside kernels are done when somebody waits for them and not before; else on the CPU, where the
// host's memory is the device's
if ((environment().device ?? 'cpu') === 'cpu') useEmulatedDevice();
const device = (environment().device ?? 'cpu') !== 'cpu';

const base = { betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 0.5 } as const;
/** Six tokens, of which one shows a picture. */
const batch: PolicyBatch = {
  inputIds: Int32Array.of(5, 306, 7, 8, 9, 10),
  positionIds: Int32Array.from({ length: 18 }, (_, i) => i % 6),
  segmentStarts: Int32Array.of(0, 6),
  segmentPrefix: Int32Array.of(-1),
  visualRows: Int32Array.of(1),
  visualSource: Int32Array.of(0),
  images: [{ rows: Float32Array.from(waves(4 * 96, 2)), gridThw: [1, 2, 2] }],
  targetRows: Int32Array.of(1, 2, 4),
  targetIds: Int32Array.of(7, 8, 10),
};

let dir: string;
beforeAll(async () => {
  dir = await writeGoldenCheckpoint('nano');
});
afterAll(() => limitMemory(Infinity));

async function bitsOf(tensors: readonly Tensor[]): Promise<string> {
  const hash = createHash('sha256');
  for (const each of tensors) hash.update(Buffer.from((await each.read()).buffer));
  return hash.digest('hex');
}

type Settings = [optimizer: Partial<OptimizerConfig>, policy?: PolicyOptions];

/** A policy with its optimizer; pieces of so few elements that tensors have several. */
async function open([settings, how]: Settings, offloadOptimizer: boolean) {
  const { optimizerInBackward = false } = settings;
  const policy = await Policy.load(dir, { ...how, keepGradients: !optimizerInBackward });
  const pieceElements = 512;
  const optimizer = createOptimizer(
    policy.trained,
    { ...base, ...settings, offloadOptimizer },
    { policy: { update: (made) => policy.update({ ...made, pieceElements }) }, onUpdate: () => policy.refresh() },
  );
  const step = async () => {
    const made = optimizer.inBackward(1e-3);
    if (!made) policy.zeroGradients();
    const update = made && { ...made, pieceElements };
    const { squaredNorm: squares } = await policy.forwardBackward(batch, wavyLoss(batch), { update });
    return optimizer.step(1e-3, squares);
  };
  const dispose = () => {
    optimizer.dispose();
    policy.dispose();
  };
  return { policy, optimizer, step, dispose };
}
type Opened = Awaited<ReturnType<typeof open>>;

const kept = ({ optimizer }: { optimizer: Optimizer }) => optimizer.state.map(({ tensor: each }) => each);
const weightsOf = ({ policy }: Opened) => policy.trained.map(({ weight }) => weight);

const inBackward = { optimizerInBackward: true, maxGradNorm: 0 };
const kinds: Record<string, Settings> = {
  'with clipping': [{}],
  'moments of 8 bits': [{ optimizer: 'adamw8bit' }],
  'weights in bf16': [{}, { dtype: 'bf16' }],
  'weights in bf16, moments of 8 bits': [{ optimizer: 'adamw8bit' }, { dtype: 'bf16' }],
  'masters of weights in bf16': [{ masterWeights: true }, { dtype: 'bf16' }],
  'masters with moments of 8 bits': [{ masterWeights: true, optimizer: 'adamw8bit' }, { dtype: 'bf16' }],
  'a frozen tower': [{}, { trained: { freeze: ['model.visual.*'] } }],
  adapters: [{}, { lora: { rank: 2, alpha: 4, targets: ['q_proj', 'down_proj'], seed: 1 } }],
  'in the backward pass': [inBackward],
  'in the backward pass, masters of weights in bf16': [{ ...inBackward, masterWeights: true }, { dtype: 'bf16' }],
};

describe(`an optimizer in the host's memory (${device ? 'beside a device' : 'on the CPU'})`, () => {
  it.each(Object.entries(kinds))(
    'leaves the bits of one on the device: %s',
    { timeout: 300_000 },
    async (_, settings) => {
      const ends = [];
      for (const offload of [false, true]) {
        const opened = await open(settings, offload);
        const norms = [];
        for (let step = 0; step < 2; step++) norms.push((await opened.step()).gradNorm);
        ends.push({
          norms,
          names: opened.optimizer.state.map(({ name }) => name),
          weights: await bitsOf(weightsOf(opened)),
          kept: await bitsOf(kept(opened)),
        });
        opened.dispose();
      }
      expect(ends[1]).toEqual(ends[0]);
    },
  );

  it('leaves in the backward pass the bits of one on the device after it', { timeout: 300_000 }, async () => {
    const ends = [];
    for (const settings of [{ maxGradNorm: 0 }, inBackward]) {
      const opened = await open([settings], settings === inBackward);
      for (let step = 0; step < 2; step++) await opened.step();
      ends.push([await bitsOf(weightsOf(opened)), await bitsOf(kept(opened))]);
      opened.dispose();
    }
    expect(ends[1]).toEqual(ends[0]);
  });

  it('goes on from what was kept of another', { timeout: 300_000 }, async () => {
    const settings: Settings = [{ masterWeights: true }, { dtype: 'bf16' }];
    const [first, second] = [await open(settings, false), await open(settings, true)];
    await first.step();
    for (const from of [weightsOf, kept])
      for (const [k, each] of from(second).entries()) each.write((await from(first)[k]!.read()) as never);
    second.optimizer.restore(first.optimizer.updates);
    await first.step();
    await second.step();
    expect(await bitsOf(weightsOf(second))).toBe(await bitsOf(weightsOf(first)));
    expect(await bitsOf(kept(second))).toBe(await bitsOf(kept(first)));
    first.dispose();
    second.dispose();
  });

  it('takes none of the memory of a device but for two pieces', async ({ skip }) => {
    if (!device) skip("the CPU's memory is the host's");
    const held: number[] = [];
    const peaks: number[] = [];
    let moments = 0;
    for (const offload of [false, true]) {
      await expect.poll(() => memoryUse().bytes).toBeLessThan(1e6);
      const opened = await open([{}], offload);
      await opened.step();
      held.push(memoryUse().bytes);
      limitMemory(Infinity); // the peak begins anew
      await opened.step();
      peaks.push(memoryUse().peak);
      moments = kept(opened).reduce((sum, { size }) => sum + 4 * size, 0);
      opened.dispose();
    }
    expect(held[0]! - held[1]!).toBe(moments);
    expect(peaks[1]).toBeLessThanOrEqual(peaks[0]! - moments + 2 * 2 * 4 * 512);
  });

  it('is read, written and filled as any other tensor, and taken by no kernel beside a device', async () => {
    const host = zerosOnHost('f32', [3]);
    expect(await host.read()).toEqual(new Float32Array(3));
    host.write(Float32Array.of(1, 2, 3));
    expect(await host.read()).toEqual(Float32Array.of(1, 2, 3));
    using other = tensor(Float32Array.of(4, 5, 6));
    keepOnHost(host, other);
    expect(await host.read()).toEqual(Float32Array.of(4, 5, 6));
    if (device)
      expect(thrownBy(() => squaredNorm({ x: [host] }))).toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(
          /works on tensors of its device; got one that is kept in the host's memory/,
        ) as string,
      });
    const shorter = zerosOnHost('f32', [2]);
    expect(thrownBy(() => keepOnHost(shorter, other))).toMatchObject({ code: 'SHAPE_MISMATCH' });
    for (const each of [host, shorter]) each.dispose();
  });

  it('wants a policy that makes its updates, and pieces of whole scales', async () => {
    const opened = await open([inBackward], true);
    const { policy, optimizer } = opened;
    expect(thrownBy(() => createOptimizer(policy.trained, { ...base, offloadOptimizer: true }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const made = { ...optimizer.inBackward(1)!, pieceElements: 100 };
    expect(await rejectionOf(policy.forwardBackward(batch, wavyLoss(batch), { update: made }))).toMatchObject({
      message: 'update: pieceElements must be a multiple of 256; got 100',
    });
    expect(await rejectionOf((async () => policy.update(made))())).toMatchObject({ code: 'INVALID_ARGUMENT' });
    opened.dispose();
  });
});

describe('train.offloadOptimizer', () => {
  const config = (train: object, more: object = {}) =>
    loadTrainConfig({
      output: 'run',
      policy: { path: dir, ...more },
      data: { train: 'none' },
      train: { steps: 1, ...train },
    });

  it('is for a device beside the CPU', async () => {
    const opening = openTrainee(config({ offloadOptimizer: true, saveEverySteps: 1 }), undefined);
    if (device) return (await opening).dispose();
    expect(await rejectionOf(opening)).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(
        /^train\.offloadOptimizer: on the CPU the optimizer is in the host's memory anyway/,
      ) as string,
    });
  });

  it('does not stand beside an average of the masters that it takes away', () => {
    const masters = { masterWeights: true, offloadOptimizer: true };
    expect(config(masters, { weights: 'bf16' }).train.offloadOptimizer).toBe(true);
    expect(thrownBy(() => config({ ...masters, ema: {} }, { weights: 'bf16' }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/train\.offloadOptimizer: takes masters from the device/) as string,
    });
    expect(config({ offloadOptimizer: true, ema: {} }).train.offloadOptimizer).toBe(true);
  });
});
