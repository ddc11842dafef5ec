import { describe, expect, it } from 'vitest';
import { advantages, createEstimator, entropyBand, lengthReward, policyLoss } from '../../lib/index.ts';
import type { G2rpoError } from '../../lib/index.ts';
import { detached } from '../support/detached.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const f64 = (...values: number[]) => Float64Array.from(values);
/** What is no list of numbers at all. */
const odd: unknown[] = [
  ...[null, undefined, 3, 'text', true, Symbol('s'), () => 1, 5n],
  ...[
    {},
    { length: 2 },
    Object.create(null),
    { constructor: null, length: 2 },
    new Map(),
    new DataView(new ArrayBuffer(16)),
  ],
];
const named = (values: unknown[]): [string, unknown][] =>
  values.map((value) => [
    typeof value === 'object' && value !== null
      ? `${Object.prototype.toString.call(value)} ${Object.keys(value).join()}`
      : String(value),
    value,
  ]);

/** It says which argument, what was wanted and what came, in the message and for programs. */
function expectTold(
  error: G2rpoError,
  argument: string | RegExp,
  code = /INVALID_ARGUMENT|_MISMATCH|NON_FINITE/,
): void {
  expect(error.code).toMatch(code);
  expect(error.details).toMatchObject({ argument: expect.stringMatching(argument) });
  for (const key of ['wanted', 'got']) expect(error.details[key], key).toBeDefined();
  expect(error.message).toMatch(/ (must|are wanted) .*; got ./);
}

describe('policyLoss', () => {
  const input = {
    logProbs: f64(-1, -2),
    oldLogProbs: f64(-1.1, -1.9),
    advantages: f64(1, 1),
    rolloutLogProbs: f64(-1, -2),
    refLogProbs: f64(-1, -2),
    importanceWeights: f64(1, 1),
    tokenStarts: Int32Array.of(0, 2),
  };
  type Key = keyof typeof input;
  const lists = Object.keys(input).filter((key) => key !== 'tokenStarts') as Key[];
  const logs = lists.filter((key) => key.endsWith('ogProbs'));
  const needed: Key[] = ['logProbs', 'oldLogProbs', 'advantages'];
  const refusal = (changes: object, settings: unknown = {}, above0?: unknown) =>
    rejectionOf(policyLoss({ ...input, ...changes } as never, settings as never, above0 as never));

  it.each(named(odd))('input %s', async (_, value) => {
    expectTold(await rejectionOf(policyLoss(value as never)), /^(input|logProbs)$/);
  });

  describe.each(lists)('%s', (key) => {
    it.each(named([...odd, [-1, -2], ['-1', '-2'], Int32Array.of(-1, -2), new BigInt64Array(2), detached(f64(1, 2))]))(
      '%s',
      async (_, value) => {
        if (value === undefined && !needed.includes(key)) return;
        const argument = key === 'logProbs' && value instanceof Float64Array ? /./ : new RegExp(`^${key}$`);
        expectTold(await refusal({ [key]: value }), argument);
      },
    );
    it.each([[f64(-1)], [f64(-1, -2, -3)], [Float32Array.of(-1, -2)]])('%j beside others', async (value) => {
      expectTold(await refusal({ [key]: value }), /./, /SHAPE_MISMATCH|DTYPE_MISMATCH/);
    });
    it.each([Number.NaN, Infinity, -Infinity])('a number that is %s', async (value) => {
      const error = await refusal({ [key]: f64(-1, value) });
      expectTold(error, new RegExp(`^${key}`), /NON_FINITE/);
      expect(error.details).toMatchObject({ row: 1, got: value });
    });
  });

  it.each(logs)('%s above 0, by more than rounding', async (key) => {
    const error = await refusal({ [key]: f64(-1, 0.5) });
    expectTold(error, new RegExp(`^${key}\\[1\\]$`), /INVALID_ARGUMENT/);
    expect(error.details).toMatchObject({ row: 1, got: '0.5' });
    expect(await policyLoss({ ...input, [key]: f64(1e-6, -2) })).toHaveProperty('loss', expect.any(Number));
    expect(await policyLoss({ ...input, [key]: f64(-1, 0.5) }, {}, 'take')).toHaveProperty('loss', expect.any(Number));
  });

  it.each(
    named([
      ...odd.filter((value) => value !== undefined),
      [0, 2],
      Float64Array.of(0, 2),
      detached(Int32Array.of(0, 2)),
    ]),
  )('tokenStarts %s', async (_, tokenStarts) => expectTold(await refusal({ tokenStarts }), /^tokenStarts$/));

  it.each(
    named([
      null,
      3,
      'ppo',
      [],
      { loss: null },
      { loss: 3 },
      { clipRange: null },
      { clipRange: { low: 'x' } },
      { kl: { coef: Number.NaN } },
      { aggregation: {} },
    ]),
  )('settings %s', async (_, settings) => {
    const error = await refusal({}, settings);
    expect(error.code).toBe('INVALID_ARGUMENT');
    for (const key of ['argument', 'wanted', 'got']) expect(error.details[key], key).toBeDefined();
  });

  it('a word that is none', async () => expectTold(await refusal({}, {}, 'alow'), /^above0$/));

  it('finite numbers whose loss is not', async () => {
    expectTold(
      await refusal({ advantages: f64(1e308, -1e308), oldLogProbs: f64(-5, -5) }),
      /^advantages$/,
      /NON_FINITE/,
    );
    const far = { logProbs: f64(-1.7e308, -1.7e308), refLogProbs: f64(-1, -1), rolloutLogProbs: f64(-1, -1) };
    const sum = { aggregation: 'seq-mean-token-sum', loss: 'reinforce' };
    expectTold(await refusal(far, sum), /^advantages$/, /NON_FINITE/);
  });
});

describe('entropyBand', () => {
  const input = { entropy: f64(1, 2), tasks: ['a', 'b'], tokenStarts: Int32Array.of(0, 1, 2) };
  const band = { min: 0.2, max: 0.6 };
  const refusal = (changes: object, bands: unknown = band, ...more: unknown[]) =>
    thrownBy(() => entropyBand({ ...input, ...changes } as never, bands as never, ...(more as [])));

  it.each(named(odd))('input %s', (_, value) => {
    expectTold(
      thrownBy(() => entropyBand(value as never, band)),
      /^(input|entropy|tasks)$/,
    );
  });
  describe.each(['entropy', 'tasks', 'tokenStarts'] as const)('%s', (key) => {
    it.each(named([...odd, [{}, null], [true, [1]], detached(f64(1, 2)), detached(Int32Array.of(0, 1))]))(
      '%s',
      (_, value) => {
        expectTold(refusal({ [key]: value }), /^(entropy|tasks|tokenStarts)(\[0\])?$/);
      },
    );
  });
  it.each([[['1', '2']], [[1, undefined]], [f64(1, Number.NaN)], [f64(Infinity, 1)], [f64(-0.1, 1)], [f64(1)]])(
    'entropy %j',
    (entropy) => expectTold(refusal({ entropy }), /^(entropy(\[\d\])?|tokenStarts)$/),
  );
  it('takes what rounding makes of 0, and entropies in a list', () => {
    expect(entropyBand({ ...input, entropy: [-1e-6, 0.4] as never }, band).penalty).toBeCloseTo(0.2, 5);
  });
  it.each(
    named([
      ...odd,
      'a',
      { a: band },
      { a: null, b: band },
      { ...band, max: '1' },
      { ...band, max: Number.NaN },
      { min: Infinity, max: Infinity },
      { a: band, b: { min: '0', max: '1' } },
      { a: band, b: 3 },
    ]),
  )('bands %s', (_, bands) => expectTold(refusal({}, bands ?? null), /^bands/));
  it('the band of a task that is absent, where it is counted', () => {
    expectTold(refusal({}, { a: band, b: band, c: null }, 1, 'count'), /^bands\.c$/);
  });
  it('a band without an upper bound', () => {
    expect(entropyBand(input, { min: 0, max: Infinity }).penalty).toBe(0);
  });
  it.each(named([null, '1', Number.NaN, Infinity, {}]))('coef %s', (_, coef) =>
    expectTold(refusal({}, band, coef), /^coef$/),
  );
  it.each(named([null, 'counted', 1, {}]))('absent %s', (_, absent) =>
    expectTold(refusal({}, band, 1, absent), /^absent$/),
  );
  it('a penalty that no number holds', () => {
    expectTold(refusal({ entropy: f64(1.5e308, 1.5e308) }), /penalty/, /NON_FINITE/);
    expectTold(refusal({}, band, 1.7e308), /penalty/, /NON_FINITE/);
  });
});

describe('lengthReward', () => {
  const four = [1, 2, 3, 4] as const;
  it.each(
    named([...odd, ['1', '2'], [null], [{}], [1, undefined], [Number.NaN], [Infinity], [-1], detached(f64(1, 2))]),
  )('lengths %s', (_, lengths) =>
    expectTold(
      thrownBy(() => lengthReward(lengths as never, four)),
      /^lengths(\[\d\])?$/,
    ),
  );
  it.each(
    named([
      ...odd,
      ['1', '2', '3', '4'],
      [1, 2, 3],
      [1, 2, 3, 4, 5],
      [1, 2, Number.NaN, 4],
      [0, 1, 2, Infinity],
      [-1, 2, 3, 4],
      [null, null, null, null],
      detached(f64(...four)),
    ]),
  )('thresholds %s', (_, thresholds) =>
    expectTold(
      thrownBy(() => lengthReward([1], thresholds as never)),
      /^thresholds$/,
    ),
  );
  it('takes lists of any kind', () => {
    expect([...lengthReward(Int32Array.of(1, 2), f64(...four) as never)]).toEqual([0, 1]);
  });
});

describe('advantages', () => {
  const input = {
    rewards: [1, 0],
    groups: ['a', 'a'],
    tasks: ['t', 't'],
    lengths: [1, 1],
    greedyRewards: [0, 0],
    components: { accuracy: [1, 0] },
  };
  const refusal = (changes: object, settings?: unknown) =>
    rejectionOf(advantages('grpo', { ...input, ...changes } as never, settings as never));
  describe.each(['rewards', 'groups', 'tasks', 'lengths', 'greedyRewards'])('%s', (key) => {
    it.each(named([...odd, [{}, null], [true, [1]], detached(f64(1, 2))]))('%s', async (_, value) => {
      if (value === undefined && key !== 'rewards' && key !== 'groups') return;
      expectTold(await refusal({ [key]: value }), new RegExp(`^${key}(\\[0\\])?$`));
    });
  });
  it.each(named([null, 3, 'text', { accuracy: null }, { accuracy: ['1', '0'] }, { accuracy: {} }]))(
    'components %s',
    async (_, components) => {
      expectTold(await refusal({ components }), /^components/);
    },
  );
  it.each(named([null, 3, [], 'mode']))('settings %s', async (_, settings) => {
    expect((await refusal({}, settings)).details).toHaveProperty('argument');
  });
  it.each(named([null, 3, {}, Symbol('s'), Object.create(null)]))('estimator %s', async (_, name) => {
    expect((await rejectionOf(advantages(name as never, input))).details).toMatchObject({ argument: 'estimator' });
    expect(thrownBy(() => createEstimator(name as never)).code).toBe('INVALID_ARGUMENT');
  });
});
