import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advantages, createEstimator, ESTIMATORS, rewardedBatch } from '../../lib/index.ts';
import { batches, changed, take, type Batch } from '../support/batches.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const NAMES = [...ESTIMATORS.keys()];
const overTokens = (name: string) => createEstimator(name).over === 'tokens';
/** One advantage per rollout; of its first token, where there are more. */
async function perRollout(name: string, batch: Batch, settings = {}): Promise<number[]> {
  const values = await advantages(name, batch, settings);
  if (!overTokens(name)) return [...values];
  let next = 0;
  return batch.lengths.map((length) => values[(next += length) - length]!);
}
const check = <T>(arbitrary: fc.Arbitrary<T>, test: (value: T) => Promise<void>) =>
  fc.assert(fc.asyncProperty(arbitrary, test), { numRuns: 40 });
const near = (came: ArrayLike<number>, wanted: ArrayLike<number>, digits = 9) => {
  expect(came.length).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) expect(came[i]).toBeCloseTo(wanted[i]!, digits);
};
const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
const sumsBy = (labels: string[], values: number[]) =>
  [...new Set(labels)].map((label) => sum(values.filter((_, i) => labels[i] === label)));

describe('every estimator', () => {
  it.each(NAMES)('%s: is the same for rows in any order', (name) =>
    check(
      batches.chain((batch) =>
        fc.tuple(
          fc.constant(batch),
          fc.shuffledSubarray([...batch.rewards.keys()], { minLength: batch.rewards.length }),
        ),
      ),
      async ([batch, order]) => {
        const [straight, mixed] = [await perRollout(name, batch), await perRollout(name, take(batch, order))];
        if (name !== 'pass-at-k') return near(mixed, order.map((i) => straight[i]!), 8); // prettier-ignore
        near([...mixed].sort(), [...straight].sort()); // of several that are best any may be the one, with 0
      },
    ),
  );

  it.each(NAMES)('%s: gives nothing to rewards that are all equal', (name) =>
    check(batches, async (batch) => {
      for (const a of await advantages(
        name,
        changed(batch, () => 0.75),
      ))
        expect(Math.abs(a)).toBe(0);
    }),
  );

  it.each(NAMES.filter((name) => name !== 'pass-at-k'))('%s: changes its sign with the rewards', (name) =>
    check(batches, async (batch) => {
      const [straight, turned] = [
        await advantages(name, batch),
        await advantages(
          name,
          changed(batch, (r) => -r),
        ),
      ];
      near(turned, straight.map((a) => -a)); // prettier-ignore
    }),
  );

  it.each(NAMES.filter((name) => name !== 'reinforce++'))('%s: does not mind where rewards begin', (name) =>
    check(batches, async (batch) => {
      const [here, there] = [
        await advantages(name, batch),
        await advantages(
          name,
          changed(batch, (r) => r + 4),
        ),
      ];
      // ema-grpo measures by moments that are not centred: m2 − m1² of rewards near 4 rounds more
      near(there, here, 7);
    }),
  );

  it.each(NAMES)('%s: is empty for no rollouts', async (name) => {
    const none = { rewards: [], groups: [], lengths: [], greedyRewards: [] };
    expect(await advantages(name, { ...none, components: { accuracy: [], format: [], structure: [] } })).toHaveLength(
      0,
    );
  });
});

describe('what sums to zero', () => {
  it.each(['grpo', 'dr-grpo', 'rloo', 'ema-grpo'])('%s: every group', (name) =>
    check(batches, async (batch) => {
      for (const total of sumsBy(batch.groups, await perRollout(name, batch))) expect(total).toBeCloseTo(0, 9);
    }),
  );
  it.each(['g2rpo', 'gaussian-gdpo'])('%s: every task', (name) =>
    check(batches, async (batch) => {
      for (const total of sumsBy(batch.tasks, await perRollout(name, batch))) expect(total).toBeCloseTo(0, 9);
    }),
  );
  it.each(['reinforce++', 'reinforce++-baseline', 'gdpo'])('%s: the batch', (name) =>
    check(batches, async (batch) => {
      expect(sum(await advantages(name, batch))).toBeCloseTo(0, 8);
    }),
  );
});

describe('ranks', () => {
  const alone = (rewards: number[]) =>
    advantages('g2rpo', { rewards, groups: rewards.map(() => 0) }, { mode: 'group' });

  it.each(['group', 'task', 'group_then_task'])('%s: any increasing transform of the rewards changes nothing', (mode) =>
    check(batches, async (batch) => {
      const before = await advantages('g2rpo', batch, { mode });
      for (const change of [(r: number) => Math.exp(3 * r), (r: number) => r ** 3 + r, (r: number) => 1e6 * r - 5])
        expect(await advantages('g2rpo', changed(batch, change), { mode })).toEqual(before);
    }),
  );

  it('gaussian-gdpo: so of every component', () =>
    check(batches, async (batch) => {
      const before = await advantages('gaussian-gdpo', batch);
      expect(
        await advantages(
          'gaussian-gdpo',
          changed(batch, (r) => Math.exp(3 * r)),
        ),
      ).toEqual(before);
    }));

  it('are a map that done twice is done once', () =>
    check(batches, async ({ rewards }) => {
      const once = await alone(rewards);
      near(await alone([...once]), once, 12);
    }));

  it('have tails no further than the outermost quantile', () =>
    check(batches, async ({ rewards }) => {
      const n = rewards.length;
      const outermost = (await alone(Array.from({ length: n }, (_, i) => i)))[n - 1]!;
      for (const a of await alone(rewards)) expect(Math.abs(a)).toBeLessThanOrEqual(outermost + 1e-12);
    }));

  it('an outlier of 1e30 is the largest, and nothing else', () =>
    check(batches, async ({ rewards }) => {
      const [most, ...others] = [9, ...rewards];
      expect(await alone([1e30, ...others])).toEqual(await alone([most, ...others]));
      expect(await alone([-1e30, ...others])).toEqual(await alone([-most, ...others]));
      expect(await alone([Infinity, ...others])).toEqual(await alone([most, ...others]));
    }));
});

it('ema-grpo goes on from its state as if it had never stopped', () =>
  check(fc.tuple(batches, batches, batches), async ([a, b, c]) => {
    const [whole, before, after] = [0, 1, 2].map(() => createEstimator('ema_grpo', { decay: 0.5 }));
    for (const batch of [a, b]) {
      await whole!.advantages(rewardedBatch(batch));
      await before!.advantages(rewardedBatch(batch));
    }
    after!.restore(JSON.parse(JSON.stringify(before!.state())));
    expect(await after!.advantages(rewardedBatch(c))).toEqual(await whole!.advantages(rewardedBatch(c)));
    expect(after!.state()).toEqual(whole!.state());
    expect(thrownBy(() => after!.restore({ tasks: { math: { m1: 0 } } })).code).toBe('INVALID_CHECKPOINT');
  }));

it.each(NAMES.filter((name) => name !== 'ema-grpo'))('%s remembers nothing', (name) => {
  const estimator = createEstimator(name);
  estimator.restore(estimator.state());
  expect(thrownBy(() => estimator.restore({ tasks: {} })).code).toBe('INVALID_CHECKPOINT');
});

describe('what is refused', () => {
  const pair = { rewards: [1, 0], groups: [7, 7] };
  const FINITE = NAMES.filter((name) => !['g2rpo', 'gaussian-gdpo'].includes(name));
  const SINGLE = ['grpo', 'dr-grpo', 'rloo', 'ema-grpo', 'pass-at-k', 'reinforce++-baseline'];

  it('an estimator or a setting that there is not, with the nearest', async () => {
    const none = await rejectionOf(advantages('grp', pair));
    expect(none).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: { argument: 'estimator', got: 'grp', nearest: 'grpo' },
    });
    for (const name of NAMES) {
      const error = await rejectionOf(advantages(name, pair, { singletn: 'zero' }));
      expect(error, name).toMatchObject({ code: 'INVALID_ARGUMENT', details: { argument: 'singletn' } });
      expect(error.message).toContain(`${name}: no setting singletn; `);
    }
    expect((await rejectionOf(advantages('grpo', pair, { singletn: 'zero' }))).message).toContain('mean singleton?');
    expect((await rejectionOf(advantages('g2rpo', pair, { mode: 'all' }))).message).toContain('g2rpo: mode: ');
  });

  it.each(SINGLE)('%s: a group of one, unless it is to get 0', async (name) => {
    const batch = { rewards: [1, 0, 3], groups: [7, 7, 8], lengths: [1, 1, 1] };
    const error = await rejectionOf(advantages(name, batch));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { argument: 'groupIds', row: 2 } });
    expect(error.message).toBe(
      `${name}: groupIds must give every group at least two rollouts; got a group of row 2 alone`,
    );
    expect((await advantages(name, batch, { singleton: 'zero' }))[2]).toBeCloseTo(0, 12);
  });

  it.each(NAMES)('%s: a group across tasks', async (name) => {
    const error = await rejectionOf(advantages(name, { ...pair, tasks: ['math', 'ocr'] }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { argument: 'taskIds', row: 1 } });
    expect(error.message).toContain('got ocr in row 1, math before');
  });

  it.each(NAMES)('%s: NaN, naming the row', async (name) => {
    const error = await rejectionOf(advantages(name, { rewards: [0, 1, Number.NaN], groups: [1, 1, 1] }));
    expect(error).toMatchObject({ code: 'NON_FINITE', details: { argument: 'rewards', row: 2 } });
    expect(error.message).toContain(`${name}: rewards[2] must be `);
  });

  it.each(FINITE)('%s: infinity, naming the row', async (name) => {
    const error = await rejectionOf(advantages(name, { rewards: [0, -Infinity], groups: [1, 1] }));
    expect(error.message).toBe(`${name}: rewards[1] must be finite; got -Infinity`);
  });

  it.each([
    [{ groups: [1] }, 'groups must have 2 elements; got 1'],
    [{ tasks: [1, 1, 1] }, 'tasks must have 2 elements; got 3'],
    [{ lengths: [] }, 'lengths must have 2 elements; got 0'],
    [{ greedyRewards: [1] }, 'greedyRewards must have 2 elements; got 1'],
    [{ components: { accuracy: [1] } }, 'components.accuracy must have 2 elements; got 1'],
  ])('lists of other lengths: %j', async (other, message) => {
    const error = await rejectionOf(advantages('g2rpo', { ...pair, ...other }));
    expect(error).toMatchObject({ code: 'SHAPE_MISMATCH', details: { wanted: 2 } });
    expect(error.message).toContain(message);
  });

  it('what it needs and is not there', async () => {
    for (const [name, key] of [
      ['gdpo', 'components'],
      ['remax', 'greedyRewards'],
      ['reinforce++', 'tokenStarts'],
    ] as const)
      // prettier-ignore
      expect((await rejectionOf(advantages(name, pair))).message).toBe(`${name}: ${key} is missing`);
    const batch = { ...pair, components: { acuracy: [1, 0] } };
    const error = await rejectionOf(advantages('gaussian-gdpo', batch, { componentWeights: { accuracy: 1 } }));
    expect(error.message).toContain('did you mean acuracy?');
    expect((await rejectionOf(advantages('reinforce++', { ...pair, lengths: [1, 0.5] }))).message).toContain(
      'lengths[1]',
    );
  });
});
