import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import type { EncodedPrompt } from '../../lib/model/qwen3vl/encodePrompt.ts';
import { packPrompts } from '../../lib/model/qwen3vl/policyBatch.ts';
import { memoryUse } from '../../lib/runtime/memory.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import { createOptimizer, type Optimizer } from '../../lib/train/optimizer.ts';
import { EmulatedFaults } from '../support/emulatedFaults.ts';
import { useEmulatedDevice } from '../support/emulatedDevice.ts';
import { writeGoldenCheckpoint } from '../support/syntheticCheckpoint.ts';

// a device that falls away in the middle of a generation: all that is under way and all that is asked afterwards is told so, nothing hangs or crashes,
// and what the process counts comes back
const dir = mkdtempSync(join(tmpdir(), 'g2rpo-lost-'));
const faults = new EmulatedFaults(join(dir, 'faults'));
const missing = useEmulatedDevice({ G2RPO_EMULATED_FAULTS: join(dir, 'faults') });
afterAll(() => {
  faults.close();
  rmSync(dir, { recursive: true, force: true });
});

describe.skipIf(missing)(`a device that is lost${missing ? ` (left out: ${missing})` : ''}`, () => {
  let path: string;
  let policy: Policy;
  let optimizer: Optimizer;
  let prompt: EncodedPrompt;
  beforeAll(async () => {
    path = await writeGoldenCheckpoint('nano');
    policy = await Policy.load(path);
    optimizer = createOptimizer(policy.trained, { betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 });
    prompt = await policy.encode([{ type: 'text', text: 'show me' }]);
  });

  const lost = (doing: () => unknown) =>
    expect((async () => doing())()).rejects.toMatchObject({
      code: 'DEVICE_LOST',
      message: expect.stringMatching(
        /^cuda: .+: uncorrectable ECC error encountered; this process has lost the device, and has to be started again$/,
      ) as string,
    });
  const batch = () => packPrompts([prompt], policy.config.vision.merge);
  const last = () => Int32Array.of(prompt.inputIds.length - 1);
  const generate = () => policy.generate([prompt, prompt], { n: 3, maxTokens: 4, stopIds: [] });

  it('is told to all that is under way, and to all that comes later', async () => {
    const weight = policy.trained[0]!.weight;
    const other = tensor(Float32Array.of(1, 2, 3));
    expect(await generate()).toHaveLength(2);
    faults.begin('losses', 40);
    const under = [lost(generate), lost(() => policy.submit({ prompt, n: 2, maxTokens: 30, stopIds: [] }))];
    await Promise.all(under);
    expect(faults.asked('losses')).toBeGreaterThanOrEqual(40);
    faults.begin('losses'); // what is lost stays lost
    await lost(generate);
    await lost(() => policy.logits(batch(), last()));
    await lost(() => weight.read());
    await lost(() => other.read());
    await lost(() => optimizer.step(0.1));
    await lost(() => zeros('f32', [3]));
    await lost(() => Policy.load(path));
    await lost(() => tensor(new Float32Array(1 << 20)));
    other.dispose();
  });

  it('gives back all that is counted', async () => {
    optimizer.dispose();
    policy.dispose();
    await expect.poll(() => memoryUse().bytes).toBe(0); // a policy's memory goes behind what is under way
  });
});
