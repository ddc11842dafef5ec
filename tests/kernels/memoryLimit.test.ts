import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { limitMemory, memoryUse } from '../../lib/runtime/memory.ts';
import { native, packageRoot } from '../../lib/runtime/native.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { manyRows } from '../support/manyRows.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

afterEach(() => limitMemory(Infinity));

it('tensors count, and go', () => {
  const before = memoryUse().bytes;
  const t = tensor(new Float32Array(1000));
  expect(memoryUse().bytes).toBe(before + 4000);
  t.dispose();
  expect(memoryUse().bytes).toBe(before);
});

it('what would pass the limit is refused, with the numbers; what fits is not', () => {
  const held = tensor(new Float32Array(500_000));
  const { bytes } = memoryUse();
  limitMemory(bytes + 4_000_000);
  const error = thrownBy(() => zeros('f32', [2_000_000]));
  expect(error.code).toBe('OUT_OF_MEMORY');
  expect(error.message).toMatch(/an array of 8.00 MB would pass the limit of [\d.]+ MB; [\d.]+ MB are in use/);
  expect(memoryUse().bytes).toBe(bytes);
  zeros('f32', [1_000_000]).dispose();
  held.dispose();
});

it.each([NaN, -1, '5', undefined])('a limit of %s bytes is refused', (bytes) => {
  expect(thrownBy(() => limitMemory(bytes as number)).code).toBe('INVALID_ARGUMENT');
});

it('a pass that is refused leaves a policy that computes as before; its peak hardly depends on the number of threads', async () => {
  const policy = await Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'));
  const batch = manyRows(2000);
  const loss = likelihood(batch.targetIds.length);
  const gradients = async () => {
    policy.zeroGradients();
    const { loss: losses } = await policy.forwardBackward(batch, loss);
    return [losses, await policy.trained[3]!.gradient!.read()];
  };
  const threads = native().threads();
  const whole = await gradients();
  const peaks: number[] = [];
  for (const n of [1, 3]) {
    native().setThreads(n);
    limitMemory(Infinity); // the peak begins anew
    await gradients();
    peaks.push(memoryUse().peak);
  }
  native().setThreads(threads);
  expect(peaks[0]! / peaks[1]!).toBeCloseTo(1, 2);
  const { bytes } = memoryUse();
  for (const share of [0, 0.3, 0.6, 0.99]) {
    limitMemory(bytes + share * (peaks[0]! - bytes));
    policy.zeroGradients();
    expect((await rejectionOf(policy.forwardBackward(batch, loss))).code).toBe('OUT_OF_MEMORY');
    expect(memoryUse().bytes).toBe(bytes);
  }
  limitMemory(peaks[0]!);
  expect(await gradients()).toEqual(whole);
  policy.dispose();
});

it('of the cache of a generation what is written counts, and a limit that it would pass ends it', async () => {
  const policy = await Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'));
  const prompt = await policy.encode([{ type: 'text', text: 'say something' }]);
  const { bytes } = memoryUse();
  const generate = () => policy.generate([prompt], { n: 4, maxTokens: 32 });
  const free = await generate();
  const { peak } = memoryUse();
  expect(peak - bytes).toBeLessThan(64e6); // much more address space is asked for
  await expect.poll(() => memoryUse().bytes).toBe(bytes); // freed behind the answer
  limitMemory(bytes + 0.5 * (peak - bytes));
  expect((await rejectionOf(generate())).code).toBe('OUT_OF_MEMORY');
  limitMemory(peak);
  expect(await generate()).toEqual(free);
  policy.dispose();
});

it('a policy that cannot be loaded leaves nothing behind', async () => {
  const dir = join(packageRoot, 'assets', 'quickstart', 'policy');
  await expect.poll(() => memoryUse().bytes).toBe(0); // what came before is freed a little later
  for (const megabytes of [1, 5, 9, 12]) {
    limitMemory(1e6 * megabytes);
    expect((await rejectionOf(Policy.load(dir))).code).toBe('OUT_OF_MEMORY');
    await expect.poll(() => memoryUse().bytes).toBe(0);
  }
  limitMemory(Infinity);
  expect((await rejectionOf(Policy.load(dir, { engine: { promptRows: 100 } }))).code).toBe('INVALID_ARGUMENT');
  await expect.poll(() => memoryUse().bytes).toBe(0);
});
