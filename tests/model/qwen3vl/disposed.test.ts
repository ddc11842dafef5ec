import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { memoryUse } from '../../../lib/runtime/memory.ts';
import { packageRoot } from '../../../lib/runtime/native.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { manyRows } from '../../support/manyRows.ts';
import { onCpu } from '../../support/onCpu.ts';
import { rejectionOf } from '../../support/thrown.ts';

const load = () => Policy.load(join(packageRoot, 'assets', 'quickstart', 'policy'));
const batch = manyRows(600);
const loss = likelihood(batch.targetIds.length);
const rows = Int32Array.of(5, 500);
const PASSES: Record<string, (policy: Policy, batch: PolicyBatch) => Promise<object>> = {
  forward: (policy) => policy.forward(batch),
  forwardBackward: (policy) => policy.forwardBackward(batch, loss),
  logits: (policy) => policy.logits(batch, rows),
};
const names = Object.keys(PASSES);

let wanted: object[];
beforeAll(async () => {
  using policy = await load();
  wanted = [];
  for (const pass of Object.values(PASSES)) wanted.push(await pass(policy, batch));
});

it.each(names)(
  'a policy that is disposed of in %s ends what it was asked, and gives its memory back',
  async (first) => {
    const policy = await load();
    const running = PASSES[first]!(policy, batch);
    const waiting = names.map((name) => PASSES[name]!(policy, batch));
    policy.dispose();
    const ended = await Promise.all([running, ...waiting]);
    if (onCpu) expect(ended).toEqual([wanted[names.indexOf(first)], ...wanted]); // of a GPU's no bits are compared
    await expect.poll(() => memoryUse().bytes, { timeout: 10_000 }).toBe(0);
  },
);

it('a policy that has been disposed of says so, whatever it is asked', async () => {
  const policy = await load();
  policy.dispose();
  policy.dispose(); // again is nothing
  const dir = join(packageRoot, 'build', 'never');
  const calls: Record<string, () => unknown> = {
    ...Object.fromEntries(names.map((name) => [name, () => PASSES[name]!(policy, batch)])),
    features: () => policy.features([]),
    zeroGradients: () => policy.zeroGradients(),
    refresh: () => policy.refresh(),
    save: () => policy.save(dir),
    saveAdapter: () => policy.saveAdapter(dir),
  };
  for (const [name, call] of Object.entries(calls))
    expect(await rejectionOf((async () => call())()), name).toMatchObject({
      code: 'DISPOSED',
      message: 'the policy has been disposed',
    });
  expect(existsSync(dir)).toBe(false);
});
