// Passes in which rows go through several ops block by block: more rows than a block has, of texts and of pictures.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch, type Recompute } from '../../../lib/model/qwen3vl/policy.ts';
import { native } from '../../../lib/runtime/native.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { mixedBatch } from '../../support/mixedBatch.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

const BLOCK = 252;
const cases = ['batch4', 'image_three', 'long300', 'mixed', 'text_only', 'image_one', 'video_ts'];

let policy: Policy;
let batch: PolicyBatch;
const threads = native().threads();
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('tiny'));
  batch = mixedBatch('tiny', cases, policy.config);
});
afterAll(() => {
  native().setThreads(threads);
  policy.dispose();
});

it('a batch of several blocks has the bits of its cases alone', async () => {
  const patches = batch.images.reduce((sum, { gridThw }) => sum + gridThw.reduce((a, b) => a * b), 0);
  expect(Math.min(batch.inputIds.length, patches)).toBeGreaterThan(BLOCK);
  const alone = [];
  for (const name of cases) alone.push(...(await policy.forward(mixedBatch('tiny', [name], policy.config))).logProbs);
  expect(Array.from((await policy.forward(batch)).logProbs)).toEqual(alone);
});

it('gradients are the same bits for any number of threads, whatever is computed again', async () => {
  const gradients = async (n: number, recompute: Recompute) => {
    native().setThreads(n);
    policy.zeroGradients();
    await policy.forwardBackward(batch, likelihood(batch.targetIds.length), { recompute });
    return Promise.all(
      policy.trained.map(async ({ gradient }) => Buffer.from((await gradient!.read()).buffer.slice(0))),
    );
  };
  const expected = await gradients(1, 'none');
  for (const [n, recompute] of [
    [2, 'none'],
    [3, 'selective'],
    [2, 'full'],
  ] as const)
    // prettier-ignore
    (await gradients(n, recompute)).forEach((found, i) => {
      expect(found.equals(expected[i]!), `${policy.trained[i]!.name} with ${n} threads, ${recompute}`).toBe(true);
    });
});
