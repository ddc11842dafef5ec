import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAlgorithm, g2rpo, segments } from '../../lib/algorithms/index.ts';
import type { MiniBatch } from '../../lib/algorithms/index.ts';
import { goldenCases } from '../support/golden.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const MODES = ['group', 'task', 'group_then_task'] as const;

/** Names as numbers, in an order of their own. */
function labels(names: readonly string[]): Int32Array {
  const distinct = [...new Set(names)].sort().reverse();
  return Int32Array.from(names, (name) => distinct.indexOf(name) * 7 - 3);
}

const batchOf = (rewards: number[], group: string[], task: string[]) => ({
  rewards: Float64Array.from(rewards),
  groupIds: labels(group),
  taskIds: labels(task),
});

describe('advantages', () => {
  const cases = goldenCases('algorithms/g2rpo.json');
  it.each(cases)('$name', async ({ inputs, expected, tolerance }) => {
    const { rewards, group, task } = inputs as { rewards: number[]; group: string[]; task: string[] };
    for (const mode of MODES.filter((name) => name in expected)) {
      const got = await g2rpo({ advantages: mode }).advantages(batchOf(rewards, group, task));
      (expected[mode] as number[]).forEach((wanted, i) => {
        const close = (tolerance.atol ?? 0) + (tolerance.rtol ?? 0) * Math.abs(wanted);
        expect(Math.abs(got[i]! - wanted), `${mode}[${i}]`).toBeLessThanOrEqual(close);
      });
    }
  });

  it('has a golden value for every mode', () => {
    for (const mode of MODES) expect(cases.filter(({ expected }) => mode in expected).length).toBeGreaterThan(20);
  });

  it('has golden cases whose groups do not stand together', () => {
    const apart = cases.filter(({ inputs }) => {
      const group = inputs['group'] as string[];
      return group.some((name, i) => group.indexOf(name) < i && group[i - 1] !== name);
    });
    expect(apart.length).toBeGreaterThan(3);
  });

  it('is the same for rows in any order', async () => {
    const rows = fc.array(fc.record({ reward: fc.nat(3), group: fc.nat(4) }), { minLength: 1, maxLength: 30 });
    const shuffled = rows.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray([...list.keys()], { minLength: list.length })),
    );
    await fc.assert(
      fc.asyncProperty(shuffled, async ([list, order]) => {
        const of = (rows: typeof list) =>
          g2rpo().advantages(
            batchOf(
              rows.map((row) => row.reward),
              rows.map((row) => `g${row.group}`),
              rows.map((row) => `t${row.group % 2}`),
            ),
          );
        const [straight, mixed] = [await of(list), await of(order.map((i) => list[i]!))];
        order.forEach((i, k) => expect(mixed[k]).toBeCloseTo(straight[i]!, 12));
      }),
      { numRuns: 50 },
    );
  });

  it('gives a rollout that is alone, and a group of equals, nothing by itself', async () => {
    const batch = batchOf([1, 0.5, 0.5, 0.5], ['a', 'b', 'b', 'b'], ['t', 't', 't', 't']);
    expect([...(await g2rpo({ advantages: 'group' }).advantages(batch))]).toEqual([0, 0, 0, 0]);
    expect([...(await g2rpo().advantages(batch))]).toEqual([0, 0, 0, 0]);
  });

  it('is empty for no rollouts and refuses NaN', async () => {
    expect((await g2rpo().advantages(batchOf([], [], []))).length).toBe(0);
    const error = await rejectionOf(g2rpo().advantages(batchOf([0, Number.NaN], ['a', 'a'], ['t', 't'])));
    expect(error.code).toBe('NON_FINITE');
  });
});

describe('segments', () => {
  it('brings equal labels together and puts values back', () => {
    const by = segments([5, 2, 5, 9, 2]);
    expect([...by.order]).toEqual([0, 2, 1, 4, 3]);
    expect([...by.starts]).toEqual([0, 2, 4, 5]);
    const values = Float64Array.of(0, 1, 2, 3, 4);
    expect([...by.sort(values)]).toEqual([0, 2, 1, 4, 3]);
    expect([...by.restore(by.sort(values))]).toEqual([...values]);
    expect([...segments([]).starts]).toEqual([0]);
  });
});

describe('prepare', () => {
  const mini: MiniBatch = {
    rewards: Float64Array.of(1, 0),
    groupIds: Int32Array.of(0, 0),
    taskIds: Int32Array.of(0, 0),
    shapingTaskIds: Int32Array.of(0, 0),
    tokenStarts: Int32Array.of(0, 3, 4),
    advantages: Float64Array.of(0.5, -0.5),
    oldLogProbs: Float32Array.of(-1, -2, -3, -4),
  };
  const never = (): never => {
    throw new Error('no entropy is needed');
  };

  it('gives every token its rollout’s advantage and the same weight', async () => {
    const loss = await createAlgorithm({
      name: 'g2rpo',
      advantages: 'task',
      clipRange: { low: 0.1, high: 0.4, dual: 0 },
    }).prepare(mini, never);
    expect(loss).toEqual({
      kind: 'ppo',
      oldLogProbs: mini.oldLogProbs,
      advantages: Float32Array.of(0.5, 0.5, 0.5, -0.5),
      weights: Float32Array.of(0.25, 0.25, 0.25, 0.25),
      entropySlopes: new Float32Array(4),
      clipLow: 0.1,
      clipHigh: 0.4,
      clipDual: 0,
    });
  });

  it('clips as EasyR1 does by default', async () => {
    const { clipLow, clipHigh, clipDual } = await g2rpo().prepare(mini, never);
    expect({ clipLow, clipHigh, clipDual }).toEqual({ clipLow: 0.2, clipHigh: 0.3, clipDual: 3 });
  });

  it('remembers nothing', () => {
    g2rpo().restore(g2rpo().state());
    expect(thrownBy(() => g2rpo().restore({ moments: [] })).code).toBe('INVALID_CHECKPOINT');
  });
});
