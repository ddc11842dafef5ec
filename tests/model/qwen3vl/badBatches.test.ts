import { afterAll, beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

let policy: Policy;
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('nano'));
});
afterAll(() => policy.dispose());

/** One text, of which some tokens are targets. */
const batchOf = (ids: number[], targets: number[] = []): PolicyBatch => ({
  inputIds: Int32Array.from(ids),
  positionIds: Int32Array.from({ length: 3 * ids.length }, (_, i) => i % ids.length),
  segmentStarts: Int32Array.of(0, ids.length),
  segmentPrefix: Int32Array.of(-1),
  images: [],
  visualRows: new Int32Array(),
  visualSource: new Int32Array(),
  targetRows: Int32Array.from(targets.keys()),
  targetIds: Int32Array.from(targets),
});

it.each<[string, PolicyBatch]>([
  ['tokens, none of which is a target', batchOf([1, 2, 3])],
  ['no token', batchOf([])],
])('%s: every list of the scores is there, and empty', async (_, batch) => {
  policy.zeroGradients();
  const { logProbs, entropy, loss, clipped } = await policy.forwardBackward(batch, likelihood(0));
  expect([logProbs, entropy, loss]).toEqual(Array(3).fill(new Float32Array()));
  expect(clipped).toEqual(new Int32Array());
  for (const { name, gradient } of policy.trained)
    expect(
      (await gradient!.read()).every((g) => g === 0),
      name,
    ).toBe(true);
});
