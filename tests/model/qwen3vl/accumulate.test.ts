import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy, type PolicyBatch, type PolicyOptions } from '../../../lib/model/qwen3vl/policy.ts';
import { mixedBatch, wavyLoss } from '../../support/mixedBatch.ts';
import { writeGoldenCheckpoint, writeNanoMoe } from '../../support/syntheticCheckpoint.ts';
import { rejectionOf } from '../../support/thrown.ts';

const policies: Record<string, [write: () => Promise<string>, options: PolicyOptions]> = {
  'a policy': [() => writeGoldenCheckpoint('nano'), {}],
  'a policy in bf16': [() => writeGoldenCheckpoint('nano'), { dtype: 'bf16' }],
  'a policy whose head is not its embedding': [() => writeGoldenCheckpoint('tiny-untied'), {}],
  'a policy with experts': [() => writeNanoMoe(), {}],
  'a policy with adapters': [
    () => writeGoldenCheckpoint('nano'),
    { lora: { rank: 2, alpha: 4, targets: ['q_proj', 'model.visual.*.qkv'], seed: 1 } },
  ],
  'a part of a policy': [() => writeGoldenCheckpoint('nano'), { trained: { only: ['*norm*', '*.1.*', '*.bias'] } }],
};

describe.each(Object.entries(policies))('gradients of %s', (name, [write, options]) => {
  let policy: Policy;
  const checkpoint = name.includes('head') ? 'tiny-untied' : 'nano';
  beforeAll(async () => {
    policy = await Policy.load(await write(), options);
  });
  afterAll(() => policy.dispose());

  const batches = {
    'with pictures': (): PolicyBatch => mixedBatch(checkpoint, ['batch4'], policy.config),
    'without pictures': (): PolicyBatch => ({
      inputIds: Int32Array.of(5, 9, 11, 7),
      positionIds: Int32Array.of(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3),
      segmentStarts: Int32Array.of(0, 4),
      segmentPrefix: Int32Array.of(-1),
      visualRows: Int32Array.of(),
      visualSource: Int32Array.of(),
      images: [],
      targetRows: Int32Array.of(1, 2),
      targetIds: Int32Array.of(11, 7),
    }),
    'without rows': (): PolicyBatch => ({
      inputIds: Int32Array.of(),
      positionIds: Int32Array.of(),
      segmentStarts: Int32Array.of(0),
      segmentPrefix: Int32Array.of(),
      visualRows: Int32Array.of(),
      visualSource: Int32Array.of(),
      images: [],
      targetRows: Int32Array.of(),
      targetIds: Int32Array.of(),
    }),
  };

  const spoil = () => {
    for (const { gradient } of policy.trained) gradient!.write(new Float32Array(gradient!.size).fill(NaN));
  };
  const pass = (batch: PolicyBatch, accumulate?: boolean) =>
    policy.forwardBackward(batch, wavyLoss(batch), accumulate === undefined ? {} : { accumulate });
  const gradients = () =>
    Promise.all(policy.trained.map(async ({ name, gradient }) => [name, await gradient!.read()] as const));
  /** By value: where nothing is added to a zero, the sign of a zero may be another. */
  const expectSame = (got: Awaited<ReturnType<typeof gradients>>, wanted: typeof got) =>
    wanted.forEach(([name, of], i) => {
      const [, is] = got[i]!;
      const off = of.findIndex((x, k) => is[k] !== x);
      expect(off, `${name}[${off}] is ${is[off]}, and ${of[off]} when added to zeros`).toBe(-1);
    });

  it.each(Object.entries(batches))('replace what was there as they are added to zeros: %s', async (_, of) => {
    const batch = of();
    policy.zeroGradients();
    const scores = await pass(batch);
    const added = await gradients();
    spoil();
    expect(await pass(batch, false)).toEqual(scores);
    expectSame(await gradients(), added);
  });

  it('are added to what a pass has written', async () => {
    const [first, second] = [batches['with pictures'](), batches['without pictures']()];
    policy.zeroGradients();
    for (const batch of [first, second]) await pass(batch, true);
    const added = await gradients();
    spoil();
    await pass(first, false);
    await pass(second);
    expectSame(await gradients(), added);
  });

  it('are whole again after a pass that was refused', async () => {
    const batch = batches['with pictures']();
    policy.zeroGradients();
    await pass(batch);
    const added = await gradients();
    spoil();
    const loss = wavyLoss(batch);
    loss.advantages[0] = NaN;
    expect(await rejectionOf(policy.forwardBackward(batch, loss, { accumulate: false }))).toMatchObject({
      code: 'NON_FINITE',
    });
    await pass(batch, false);
    expectSame(await gradients(), added);
  });

  it('want to know which', async () => {
    const batch = batches['without pictures']();
    const odd = policy.forwardBackward(batch, wavyLoss(batch), { accumulate: 1 as never });
    expect((await rejectionOf(odd)).message).toBe('policy: accumulate must be true or false; got 1');
  });
});
