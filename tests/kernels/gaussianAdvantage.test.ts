import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gaussianAdvantage } from '../../lib/kernels/gaussianAdvantage.ts';
import { native } from '../../lib/runtime/native.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, runReference, testKernel, expectClose } from '../support/testKernel.ts';

const segments = (sizes: number[]) => sizes.reduce((starts, n) => [...starts, starts.at(-1)! + n], [0]);
const ragged = (seed: number, count: number, largest: number, levels = 0) => {
  const sizes = Array.from(randoms(seed, count), (x) => Math.floor(((x + 1) / 2) * (largest + 1)));
  const starts = segments(sizes);
  const rewards = randoms(seed + 1, starts.at(-1)!);
  return { rewards: levels ? rewards.map((x) => Math.floor(x * levels)) : rewards, segmentStarts: starts };
};

testKernel(gaussianAdvantage, {
  cases: {
    'a binary group': { rewards: [1, 0, 0, 1], segmentStarts: [0, 4] },
    'all equal, one alone, none at all': { rewards: [2, 2, 2, 5], segmentStarts: [0, 3, 4, 4] },
    'no rewards': { rewards: [], segmentStarts: [0] },
    'infinities and zeros of both signs': {
      rewards: [Infinity, -Infinity, 0, -0, Infinity, 1e30, 3],
      segmentStarts: [0, 7],
    },
    '512 groups of 8': { rewards: randoms(7, 4096), segmentStarts: segments(Array.from({ length: 512 }, () => 8)) },
    'ragged, up to 9': ragged(1, 300, 9),
    'ragged, up to 16': ragged(5, 300, 16),
    'ragged, up to 16, with ties': ragged(6, 300, 16, 3),
    'ragged, up to 20, with infinities': {
      ...ragged(7, 200, 20),
      rewards: ragged(7, 200, 20).rewards.map((x) => (x > 0.8 ? Infinity : x < -0.9 ? -Infinity : x)),
    },
    'ragged, up to 70, with ties': ragged(2, 200, 70, 6),
    'ragged, up to 3000, with ties': ragged(3, 5, 3000, 50),
    'every size from 1 to 40': {
      rewards: randoms(8, 820).map((x) => Math.round(x * 9)),
      segmentStarts: segments(Array.from({ length: 40 }, (_, i) => i + 1)),
    },
    'small ones beside a large one': { rewards: randoms(9, 5016), segmentStarts: [0, 8, 5008, 5016] },
    'one crowd and an outlier': { rewards: [...randoms(10, 999), 1e300], segmentStarts: [0, 1000] },
    'crowds of every magnitude': { rewards: randoms(11, 3000).map((x) => Math.exp(300 * x)), segmentStarts: [0, 3000] },
    'more than fit a double': { rewards: [...randoms(12, 398), 1.5e308, -1.5e308], segmentStarts: [0, 400] },
    'many, half of them infinite': {
      rewards: randoms(13, 400).map((x) => (x > 0.5 ? Infinity : x < -0.5 ? -Infinity : x)),
      segmentStarts: [0, 400],
    },
    'thousands close together': { rewards: randoms(14, 20_000).map((x) => 1 + x * 1e-13), segmentStarts: [0, 20_000] },
    'a chain of near values': { rewards: [0, 0.4, 0.8, 1.2, 9], segmentStarts: [0, 5], tieTolerance: 0.5 },
    'ragged, up to 16, tied and near': {
      ...ragged(15, 300, 16, 3),
      rewards: ragged(15, 300, 16, 3).rewards.map((x, i) => (i > 1000 && i % 7 === 0 ? x + 5e-10 : x)),
      tieTolerance: 1e-9,
    },
    'ragged, up to 16, all further apart than the tolerance': { ...ragged(16, 300, 16), tieTolerance: 1e-9 },
    'few values, some of them near, zeros of both signs': {
      rewards: randoms(17, 1301).map((x) => [-0, 0, 1, 1 + 5e-10, 7, -3][Math.floor(3 * (x + 1))] ?? 7),
      segmentStarts: [0, 300, 1301],
      tieTolerance: 1e-9,
    },
    'few values, and late ones that share a bucket': {
      rewards: Array.from(randoms(18, 900), (x, i) => Math.round(2 * x) + (i > 700 && i % 9 === 0 ? 1e-6 * x : 0)),
      segmentStarts: [0, 900],
    },
    'a long chain': { ...ragged(4, 3, 500), tieTolerance: 0.001 },
  },
  tolerance: 1e-12, // ranks are exact; only the quantile and the sums over ties round
});

const advantagesOf = (rewards: number[], starts = [0, rewards.length], tieTolerance = 0) =>
  gaussianAdvantage({
    rewards: Float64Array.from(rewards),
    segmentStarts: Int32Array.from(starts),
    tieTolerance,
  }).advantages.read();

describe('what holds for every set of rewards', () => {
  const set = fc.array(fc.oneof(fc.integer({ min: -4, max: 4 }), fc.double({ noNaN: true })), {
    minLength: 1,
    maxLength: 90,
  });
  const check = (property: (x: number[]) => Promise<void>) =>
    fc.assert(fc.asyncProperty(set, property), { numRuns: 60, seed: 1 });

  it('sums to zero and is bounded by the outermost quantile', () =>
    check(async (x) => {
      const a = await advantagesOf(x);
      expect(Math.abs(a.reduce((s, v) => s + v, 0))).toBeLessThan(1e-12);
      const outermost = (await advantagesOf(x.map((_, i) => i))).at(-1)!;
      for (const v of a) expect(Math.abs(v)).toBeLessThanOrEqual(outermost);
    }));
  it('does not change under a rising map', () =>
    check(async (x) => {
      const levels = x.map((v) => Math.max(-1000, Math.min(1000, Math.trunc(v)))); // so that the cubes are exact
      expect(await advantagesOf(levels.map((v) => v ** 3 + 5))).toEqual(await advantagesOf(levels));
    }));
  it('turns its sign with the rewards', () =>
    check(async (x) => {
      const turned = await advantagesOf(x.map((v) => -v));
      (await advantagesOf(x)).forEach((a, i) => expect(turned[i]! + a).toBe(0));
    }));
  it('follows a permutation', () =>
    check(async (x) => {
      expect(Array.from(await advantagesOf(x.toReversed()))).toEqual(Array.from(await advantagesOf(x)).reverse());
    }));
  it('applied twice is applied once', () =>
    check(async (x) => {
      const once = Array.from(await advantagesOf(x));
      expectClose('twice', await advantagesOf(once), once, 1e-12);
    }));
  it('a symmetric block is exactly zero', async () => {
    for (const n of [2, 3, 8, 33, 64, 65, 1000])
      expect(new Set(await advantagesOf(Array(n).fill(0.1)))).toEqual(new Set([0]));
  });
});

describe('what it refuses', () => {
  it('NaN, wherever it stands', async () => {
    await expect(advantagesOf([1, Number.NaN])).rejects.toMatchObject({ code: 'NON_FINITE' });
    await expect(advantagesOf([...Array(99).fill(0), Number.NaN])).rejects.toThrow(/NaN, which has no rank/);
  });
  it('NaN in a small segment, among rewards that are distinct or tied', async () => {
    for (let n = 1; n <= 17; n++)
      for (const levels of [0, 2])
        for (const tieTolerance of [0, 1e-9]) {
          const rewards = Array.from(randoms(n, 40 * n), (x) => (levels ? Math.floor(x * levels) : x));
          rewards[13 * n + Math.floor(n / 2)] = Number.NaN;
          const starts = segments(Array.from({ length: 40 }, () => n));
          await expect(advantagesOf(rewards, starts, tieTolerance)).rejects.toMatchObject({ code: 'NON_FINITE' });
        }
  });
  it('segment starts that fall, or do not cover the rewards', async () => {
    for (const starts of [
      [0, 3, 2, 4],
      [1, 4],
      [0, 3],
      [0, 5],
      [-1, 4],
    ])
      await expect(advantagesOf([1, 2, 3, 4], starts)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
  it('arguments that the signature does not allow, where it is called', () => {
    const rewards = new Float64Array(4);
    const segmentStarts = Int32Array.of(0, 4);
    const call = gaussianAdvantage as unknown as (a: unknown) => void;
    expect(() => call({ rewards, segmentStarts: new Float32Array(2) })).toThrow(
      'segmentStarts must be i32[S+1]; got f32[2]',
    );
    expect(() => call({ rewards: [1, 2], segmentStarts })).toThrow('must be a Tensor or a typed array');
    expect(() => call({ segmentStarts })).toThrow('rewards f64[B] is missing');
    expect(() => call({ rewards, segmentStarts: new Int32Array(0) })).toThrow('must be i32[S+1] with B = 4; got [0]');
    expect(() => call({ rewards, segmentStarts, tieTolerence: 1 })).toThrow('did you mean tieTolerance?');
    expect(() => call({ rewards, segmentStarts, tieTolerance: '1' })).toThrow('tieTolerance must be a number');
  });
});

it('gives the reference for an outlier of 1e30 and for 1, alike', () => {
  const starts = [0, 4];
  expect(runReference(gaussianAdvantage, { rewards: [0, 0.5, 0.2, 1e30], segmentStarts: starts })).toEqual(
    runReference(gaussianAdvantage, { rewards: [0, 0.5, 0.2, 1], segmentStarts: starts }),
  );
});

sameForAnyThreads(gaussianAdvantage, ragged(17, 2000, 20, 8), 'f64');

// the last one: an instruction set that is put aside stays so for the process, which is of this file alone
it('gives the same bits on every instruction set', async () => {
  const given = [
    { ...ragged(18, 2000, 16), tieTolerance: 0 },
    { ...ragged(19, 2000, 40, 5), tieTolerance: 0 },
    { ...ragged(20, 500, 16, 50), tieTolerance: 0.01 },
    { ...ragged(21, 20, 3000), tieTolerance: 0 },
  ];
  const results = [];
  for (const isa of ['avx512', 'avx2', 'generic']) {
    if (native().limitIsa(isa) !== isa) continue;
    results.push(
      await Promise.all(
        given.map(({ rewards, segmentStarts, tieTolerance }) =>
          advantagesOf(Array.from(rewards), segmentStarts, tieTolerance),
        ),
      ),
    );
  }
  expect(results.length).toBeGreaterThan(0);
  for (const other of results) expect(other).toEqual(results[0]);
});
