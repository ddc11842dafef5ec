import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAlgorithm, type ObservedBatch } from '../../../lib/algorithms/index.ts';
import { proposeBand, proposeThresholds, quantile } from '../../../lib/algorithms/shaping/proposal.ts';
import { fakePrompt } from '../../support/fakePolicy.ts';
import { thrownBy } from '../../support/thrown.ts';

describe('a proposal', () => {
  it('stands at the quantiles', () => {
    const lengths = Array.from({ length: 101 }, (_, i) => 200 - i);
    expect(proposeThresholds(lengths)).toEqual([102, 120, 180, 198]);
    expect(proposeBand(lengths.map((length) => length / 1000))).toEqual({ min: 0.11, max: 0.19 });
    expect(quantile([1, 2], 0.25)).toBe(1.25);
    expect(quantile([], 0.25)).toBeUndefined();
  });
  it('is wide enough where all are equal, or there is one', () => {
    expect(proposeThresholds([7, 7, 7])).toEqual([6, 7, 8, 9]);
    expect(proposeThresholds([1])).toEqual([0, 1, 2, 3]);
    expect(proposeBand([0])).toEqual({ min: 0, max: 0.001 });
    expect(proposeBand([0.5])).toEqual({ min: 0.5, max: 0.501 });
  });
  it('rises in whole numbers, and holds the middle of what it is made of', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 60 }), (lengths) => {
        const [a, b, c, d] = proposeThresholds(lengths);
        expect([a, b, c, d].every(Number.isInteger) && 0 <= a && a < b && b < c && c < d).toBe(true);
        const inside = lengths.filter((length) => b <= length && length <= c).length;
        expect(inside).toBeGreaterThanOrEqual(0.6 * (lengths.length - 1) - 1);
        const { min, max } = proposeBand(lengths.map((length) => length / 5000));
        expect(0 <= min && min < max).toBe(true);
      }),
    );
  });
});

/** n rollouts of a task, all of one length and one entropy. */
const batchOf = (task: string, length: number, entropy: number, n = 4, accuracy = 1): ObservedBatch => ({
  tasks: Array<string>(n).fill(task),
  lengths: Array<number>(n).fill(length),
  accuracies: Array<number>(n).fill(accuracy),
  entropies: Array<number>(n).fill(entropy),
});

const algorithmOf = (calibration: object, shaping: object = {}) =>
  createAlgorithm({
    lengthReward: { weight: 0.5, tasks: { ocr: [10, 20, 30, 40] } },
    entropyBand: { coef: 1, tasks: { ocr: { min: 0.1, max: 0.2 } } },
    calibration: { everyBatches: 1, minCorrect: 3, window: 2, hysteresis: 0.1, ...calibration },
    ...shaping,
  });

/** The bounds in force, as they are told. */
async function boundsOf(algorithm: ReturnType<typeof algorithmOf>, task = 'ocr') {
  const one = Float32Array.of(-1);
  const mini = {
    shapingTaskIds: Int32Array.of(1),
    shapingTaskNames: ['math_reasoning', task],
    tokenStarts: Int32Array.of(0, 1),
    advantages: Float64Array.of(1),
    oldLogProbs: one,
  };
  const { metrics } = await algorithm.prepare(mini, async () => ({ logProbs: one, entropy: Float32Array.of(0.15) }));
  const of = (name: string) => metrics[`shaping/${name}/${task}`];
  const ends = ['min_start', 'peak_start', 'peak_end', 'max_end'].map((end) => of(`length_${end}`));
  return { lengths: ends, band: [of('entropy_min'), of('entropy_max')], right: of('correct') };
}

describe('live', () => {
  it('bounds follow right answers, and what a length is worth with them', async () => {
    const algorithm = algorithmOf({});
    const tokens = new Int32Array(100);
    const rollout = { groupId: 0, prompt: fakePrompt('a'), tokens, text: '', rolloutLogProbs: new Float32Array(100) };
    const worth = () =>
      algorithm.shape(
        { ...rollout, finish: 'stop', reward: { overall: 1, accuracy: 1, format: 1 } },
        { maxTokens: 200 },
      ).length;
    expect(await boundsOf(algorithm)).toEqual({ lengths: [10, 20, 30, 40], band: [0.1, 0.2], right: 0 });
    expect(worth()).toBe(0);
    algorithm.observe(batchOf('ocr', 100, 0.5));
    expect(await boundsOf(algorithm)).toEqual({ lengths: [99, 100, 101, 102], band: [0.5, 0.501], right: 4 });
    expect(worth()).toBe(1);
    // others keep theirs
    expect((await boundsOf(algorithm, 'chart_figure_qa')).lengths).toEqual([100, 400, 1100, 3000]);
  });

  it('wrong answers, and too few right ones, move nothing', async () => {
    const algorithm = algorithmOf({});
    algorithm.observe(batchOf('ocr', 100, 0.5, 50, 0.49));
    algorithm.observe(batchOf('ocr', 100, 0.5, 2));
    expect(await boundsOf(algorithm)).toEqual({ lengths: [10, 20, 30, 40], band: [0.1, 0.2], right: 2 });
  });

  it('looks after every so many batches, at the last ones', async () => {
    const algorithm = algorithmOf({ everyBatches: 3 });
    algorithm.observe(batchOf('ocr', 900, 0.9));
    algorithm.observe(batchOf('ocr', 100, 0.5));
    expect((await boundsOf(algorithm)).lengths).toEqual([10, 20, 30, 40]);
    algorithm.observe(batchOf('ocr', 100, 0.5));
    expect(await boundsOf(algorithm)).toEqual({ lengths: [99, 100, 101, 102], band: [0.5, 0.501], right: 8 });
  });

  it('bounds stay unless one moves by more than the hysteresis', async () => {
    const algorithm = algorithmOf({ window: 1 });
    algorithm.observe(batchOf('ocr', 100, 0.5));
    algorithm.observe(batchOf('ocr', 105, 0.545));
    expect(await boundsOf(algorithm)).toMatchObject({ lengths: [99, 100, 101, 102], band: [0.5, 0.501] });
    algorithm.observe(batchOf('ocr', 112, 0.545));
    expect(await boundsOf(algorithm)).toMatchObject({ lengths: [111, 112, 113, 114], band: [0.5, 0.501] });
    algorithm.observe(batchOf('ocr', 112, 0.6));
    expect(await boundsOf(algorithm)).toMatchObject({ lengths: [111, 112, 113, 114], band: [0.6, 0.601] });
  });

  it('follows only what is shaped', async () => {
    const algorithm = algorithmOf({}, { entropyBand: { coef: 0 } });
    algorithm.observe(batchOf('ocr', 100, 0.5));
    expect(await boundsOf(algorithm)).toEqual({
      lengths: [99, 100, 101, 102],
      band: [undefined, undefined],
      right: 4,
    });
  });

  it('goes on from its state as if nothing had been between', async () => {
    const [whole, first] = [algorithmOf({ everyBatches: 2 }), algorithmOf({ everyBatches: 2 })];
    const batches = [0.1, 0.7, 0.3, 0.4, 0.9].map((x) => batchOf('ocr', Math.round(100 * x), x / 3));
    batches.forEach((batch) => whole.observe(batch));
    batches.slice(0, 3).forEach((batch) => first.observe(batch));
    const second = algorithmOf({ everyBatches: 2 });
    const saved = JSON.parse(JSON.stringify(first.state())) as unknown;
    second.restore(saved);
    first.observe(batches[4]!); // what was saved is its own
    batches.slice(3).forEach((batch) => second.observe(batch));
    expect(second.state()).toEqual(whole.state());
    expect(await boundsOf(second)).toEqual(await boundsOf(whole));
  });

  it('off, it remembers and tells nothing', async () => {
    const algorithm = algorithmOf({ everyBatches: 0 });
    algorithm.observe(batchOf('ocr', 100, 0.5));
    expect(algorithm.state()).toMatchObject({ calibration: null });
    expect((await boundsOf(algorithm)).lengths).toEqual(Array(4).fill(undefined));
    algorithm.restore(algorithm.state());
  });

  it.each([[{}], [{ batches: 1, window: [], thresholds: { ocr: [1, 2] }, bands: {} }], [null]])(
    'refuses %j as its state',
    (calibration) => {
      const error = thrownBy(() => algorithmOf({}).restore({ estimator: null, klCoef: 0, calibration }));
      expect(error).toMatchObject({ code: 'INVALID_CHECKPOINT' });
      expect(error.message).toMatch(/calibration: the state must hold batches, window, thresholds and bands/);
    },
  );
});
