import fc from 'fast-check';
import { expect, it } from 'vitest';
import { gaussianAdvantage } from '../../lib/kernels/gaussianAdvantage.ts';
import { segmentStatistics } from '../../lib/kernels/segmentStatistics.ts';
import { tensor, zeros } from '../../lib/runtime/tensor.ts';
import { detached } from '../support/detached.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

/** B numbers in two segments, of which some are equal. */
function batchOf(B: number) {
  const rewards = Float64Array.from({ length: B }, (_, i) => ((i * 7919) % 97) / 8);
  return { rewards, segmentStarts: Int32Array.of(0, B >> 2, B) };
}

async function launched({ rewards, segmentStarts }: ReturnType<typeof batchOf>) {
  using advantages = gaussianAdvantage({ rewards, segmentStarts }).advantages;
  return advantages.read();
}

it.each([0, 1, 37, 4096, 20_000])('computes on arrays of %d what it computes on tensors', async (B) => {
  const batch = batchOf(B);
  expect((await gaussianAdvantage.compute(batch)).advantages).toEqual(await launched(batch));
  const tensors = { rewards: tensor(batch.rewards), segmentStarts: batch.segmentStarts };
  expect((await gaussianAdvantage.compute(tensors)).advantages).toEqual(await launched(batch));
  tensors.rewards.dispose();
});

it('gives all outputs, each in its type', async () => {
  const { mean, minimum, ...others } = await segmentStatistics.compute({
    values: Float64Array.of(1, 3, 8),
    segmentStarts: Int32Array.of(0, 2, 3),
  });
  expect(mean).toEqual(Float64Array.of(2, 8));
  expect(minimum).toEqual(Float64Array.of(1, 8));
  expect(Object.keys(others)).toEqual(['variance', 'maximum']);
});

it('takes a part of an array, and an array that is shared with other threads', async () => {
  const { rewards, segmentStarts } = batchOf(100);
  const wanted = (await gaussianAdvantage.compute({ rewards, segmentStarts })).advantages;
  const longer = new Float64Array(107).fill(NaN);
  longer.set(rewards, 3);
  const shared = new Float64Array(new SharedArrayBuffer(800));
  shared.set(rewards);
  for (const given of [longer.subarray(3, 103), shared as unknown as Float64Array<ArrayBuffer>])
    expect((await gaussianAdvantage.compute({ rewards: given, segmentStarts })).advantages).toEqual(wanted);
});

it('says what is wrong, and computes on', async () => {
  for (const B of [100, 20_000]) {
    const { rewards, segmentStarts } = batchOf(B);
    const nan = rewards.with(7, NaN);
    expect((await rejectionOf(gaussianAdvantage.compute({ rewards: nan, segmentStarts }))).code).toBe('NON_FINITE');
    const short = Int32Array.of(0, B - 1);
    const refused = await rejectionOf(gaussianAdvantage.compute({ rewards, segmentStarts: short }));
    expect(refused.code).toBe('INVALID_ARGUMENT');
    expect((await gaussianAdvantage.compute({ rewards, segmentStarts })).advantages).toHaveLength(B);
  }
  const unknown = gaussianAdvantage.compute({ ...batchOf(4), reward: 1 } as never);
  expect((await rejectionOf(unknown)).message).toMatch(/no argument reward; did you mean rewards\?/);
});

it('keeps the order of what is short and what is long', async () => {
  const long = batchOf(200_000);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 12 }), async (jobs) => {
      const t = tensor(new Float64Array(64));
      const waits: Promise<unknown>[] = [];
      for (const [i, isLong] of jobs.entries()) {
        if (isLong) waits.push(launched(long));
        t.write(new Float64Array(64).fill(i + 1));
        waits.push(t.read().then((values) => expect(values[63]).toBe(i + 1)));
      }
      await Promise.all(waits);
      t.dispose();
    }),
    { numRuns: 20 },
  );
});

it('refuses an array whose memory was given away, which looks like an empty one', async () => {
  const gone = detached(new Float64Array(4));
  using four = zeros('f64', [4]);
  const message = 'must be a list with its memory; got Float64Array whose buffer is detached';
  expect(thrownBy(() => tensor(gone)).message).toBe(`tensor: array ${message}`);
  expect(thrownBy(() => four.write(gone)).message).toBe(`write: array ${message}`);
  const computed = gaussianAdvantage.compute({ rewards: gone, segmentStarts: Int32Array.of(0) });
  expect((await rejectionOf(computed)).message).toBe(`gaussian_advantage: rewards ${message}`);
});
