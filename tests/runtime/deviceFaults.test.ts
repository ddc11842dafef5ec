import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Policy, type PolicyBatch } from '../../lib/model/qwen3vl/policy.ts';
import type { G2rpoError } from '../../lib/runtime/errors.ts';
import { memoryUse } from '../../lib/runtime/memory.ts';
import type { Tensor } from '../../lib/runtime/tensor.ts';
import { createOptimizer, type Optimizer } from '../../lib/train/optimizer.ts';
import { EmulatedFaults, type Fault } from '../support/emulatedFaults.ts';
import { useEmulatedDevice } from '../support/emulatedDevice.ts';
import { waves, wavyLoss } from '../support/mixedBatch.ts';
import { writeGoldenCheckpoint } from '../support/syntheticCheckpoint.ts';

// allocations and launches of a training step, a generation and an update are refused, one at a time: the error is told, nothing stays behind,
// and what is asked for next has the bits it had before
/** Refusals of a kind, spread over what there is: layers repeat each other. All of a training step's take ten minutes. */
const MOST = 12;
const dir = mkdtempSync(join(tmpdir(), 'g2rpo-faults-'));
const faults = new EmulatedFaults(join(dir, 'faults'));
const missing = useEmulatedDevice({ G2RPO_EMULATED_FAULTS: join(dir, 'faults') });
afterAll(() => {
  faults.close();
  rmSync(dir, { recursive: true, force: true });
});

const settings = { betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 1 } as const;

const picture = {
  pixels: Uint8Array.from(waves(3 * 8 * 8, 2), (x) => 128 * (x + 1)),
  ...{ height: 8, width: 8, gridThw: [1, 2, 2] as const, visualTokens: 1 },
};

/** Four tokens, of which one shows a picture. */
const batch: PolicyBatch = {
  inputIds: Int32Array.of(5, 306, 7, 8),
  positionIds: Int32Array.of(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3),
  segmentStarts: Int32Array.of(0, 4),
  segmentPrefix: Int32Array.of(-1),
  visualRows: Int32Array.of(1),
  visualSource: Int32Array.of(0),
  images: [picture],
  targetRows: Int32Array.of(1, 2),
  targetIds: Int32Array.of(7, 8),
};

describe.skipIf(missing)(`a device that refuses${missing ? ` (left out: ${missing})` : ''}`, () => {
  const codes: Record<Fault, string> = {
    allocations: 'OUT_OF_MEMORY',
    launches: 'DEVICE_FAILED',
    losses: 'DEVICE_LOST',
  };
  let policy: Policy;
  let optimizer: Optimizer;
  beforeAll(async () => {
    policy = await Policy.load(await writeGoldenCheckpoint('nano'));
    optimizer = createOptimizer(policy.trained, settings);
  });
  afterAll(() => {
    optimizer.dispose();
    policy.dispose();
  });

  /** A hash of their bits: comparing the numbers would take longer than computing them. */
  const bitsOf = async (tensors: readonly Tensor[]) => {
    const hash = createHash('sha256');
    for (const array of await Promise.all(tensors.map((t) => t.read()))) hash.update(Buffer.from(array.buffer));
    return hash.digest('hex');
  };
  const trainingStep = async () => {
    policy.zeroGradients();
    const scores = await policy.forwardBackward(batch, wavyLoss(batch));
    return [scores, await bitsOf(policy.trained.map(({ gradient }) => gradient!))];
  };
  const generateBy = (by: Policy) => {
    const { inputIds, positionIds, visualRows, images } = batch;
    const prompt = { inputIds, positionIds, visualRows, images: images as never, ropeDelta: 0 };
    return by.generate([prompt], { n: 2, maxTokens: 3, temperature: 1, repetitionPenalty: 1.2, seed: 5 });
  };
  const generate = () => generateBy(policy);

  let recorded = false; // steps of decoding ask for memory until they have been recorded
  /** The outcome with a fault, or undefined if the fault was told, or if what had been recorded did not ask for so much. */
  async function withFault(kind: Fault, at: number, run: () => Promise<unknown>): Promise<unknown> {
    faults.begin(kind, at);
    try {
      const outcome = await run();
      return recorded && faults.asked(kind) < at ? undefined : outcome;
    } catch (error) {
      expect((error as G2rpoError).code, `${kind} ${at}: ${(error as Error).message}`).toBe(codes[kind]);
      return undefined;
    } finally {
      faults.begin(kind);
    }
  }

  async function refuseEach(kind: Fault, run: () => Promise<unknown>): Promise<void> {
    recorded = run === generate;
    const { bytes } = memoryUse();
    const bits = await run();
    expect(await run()).toEqual(bits); // scratch is one piece by then
    await expect.poll(() => memoryUse().bytes).toBe(bytes);
    faults.begin(kind);
    await run();
    await expect.poll(() => memoryUse().bytes).toBe(bytes);
    const [asked, pieces] = [faults.asked(kind), faults.pieces];
    expect(asked).toBeGreaterThan(2);
    for (let at = 1; at <= asked; at += Math.ceil(asked / MOST)) {
      expect(await withFault(kind, at, run), `${kind} ${at} of ${asked}`).toBeUndefined();
      await expect.poll(() => memoryUse().bytes).toBe(bytes);
      expect(await run()).toEqual(bits);
      await expect.poll(() => memoryUse().bytes).toBe(bytes);
      expect(faults.pieces).toBe(pieces);
    }
  }

  it('memory that scratch grows by, in the first steps', async () => {
    const { bytes } = memoryUse();
    let first: unknown;
    for (let at = 1; first === undefined; at *= 2) {
      first = await withFault('allocations', at, trainingStep);
      expect(memoryUse().bytes).toBe(bytes);
    }
    expect(await trainingStep()).toEqual(first);
  });
  it.each(['allocations', 'launches'] as const)('%s of a training step', (kind) => refuseEach(kind, trainingStep));
  it.each(['allocations', 'launches'] as const)('%s of a generation', (kind) => refuseEach(kind, generate));

  it('to make graphs, so that steps are launched one by one', async () => {
    const bits = await generate();
    vi.stubEnv('G2RPO_EMULATED_NO_GRAPHS', '1');
    const fresh = await Policy.load(await writeGoldenCheckpoint('nano'));
    for (let again = 0; again < 3; again++) expect(await generateBy(fresh)).toEqual(bits);
    vi.unstubAllEnvs();
    fresh.dispose();
  });

  it.each(['allocations', 'launches'] as const)(
    '%s of an update, after which weights are written again',
    async (kind) => {
      await trainingStep();
      const kept = [...policy.trained.map(({ weight }) => weight), ...optimizer.state.map(({ tensor }) => tensor)];
      const values = await Promise.all(kept.map((t) => t.read()));
      await refuseEach(kind, async () => {
        kept.forEach((t, k) => t.write(values[k] as never));
        optimizer.restore(0);
        const report = await optimizer.step(0.1);
        return [report, await bitsOf(kept)];
      });
    },
  );

  it.each(['allocations', 'launches'] as const)(
    '%s of an update that the backward pass makes, with moments on the host, after which weights are written again',
    { timeout: 300_000 },
    async (kind) => {
      const lent = await Policy.load(await writeGoldenCheckpoint('nano'), { keepGradients: false });
      const inBackward = { ...settings, maxGradNorm: 0, optimizerInBackward: true, offloadOptimizer: true };
      const own = createOptimizer(lent.trained, inBackward);
      const kept = [...lent.trained.map(({ weight }) => weight), ...own.state.map(({ tensor }) => tensor)];
      const values = await Promise.all(kept.map((t) => t.read()));
      await refuseEach(kind, async () => {
        kept.forEach((t, k) => t.write(values[k] as never));
        own.restore(0);
        const scores = await lent.forwardBackward(batch, wavyLoss(batch), { update: own.inBackward(0.1) });
        const report = await own.step(0.1, scores.squaredNorm);
        return [scores, report, await bitsOf(kept)];
      });
      own.dispose();
      lent.dispose();
    },
  );
});
