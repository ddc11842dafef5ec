import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bandPenalty, entropyBand, fateOf, lengthReward, overlongPenalty, withLength } from '../../lib/index.ts';
import { thrownBy } from '../support/thrown.ts';

describe('the entropy band', () => {
  const input = {
    entropy: Float64Array.of(0.1, 0.3, 0.9, 0.4, 1.2),
    tasks: ['a', 'b', 'a', 'c'],
    tokenStarts: Int32Array.of(0, 2, 4, 5, 5),
  };
  const band = { min: 0.2, max: 0.6 };

  it('is of the mean over all tokens of a task, and its slopes are those of finite differences', () => {
    const { penalty, dEntropy, tasks } = entropyBand(input, band, 0.5);
    expect(tasks['a']).toMatchObject({ slope: 0, tokens: 3, penalty: 0 });
    expect(tasks['b']!.entropy).toBeCloseTo(0.65, 14);
    expect(Object.keys(tasks)).toEqual(['a', 'b']); // c has no tokens
    expect(penalty).toBeCloseTo(0.5 * 0.05, 14);
    dEntropy.forEach((slope, i) => {
      const moved = (by: number) =>
        entropyBand({ ...input, entropy: input.entropy.map((h, j) => (j === i ? h + by : h)) }, band, 0.5).penalty;
      expect(slope).toBeCloseTo((moved(1e-6) - moved(-1e-6)) / 2e-6, 8);
    });
  });

  it('counts a task without tokens only if asked', () => {
    const bands = { a: band, b: band, c: band, d: { min: 0.4, max: 1 } };
    const [skipped, counted] = [entropyBand(input, bands), entropyBand(input, bands, 1, 'count')];
    expect(counted.penalty - skipped.penalty).toBeCloseTo(0.2 + 0.4, 14);
    expect(counted.dEntropy).toEqual(skipped.dEntropy);
  });

  it('has no slope at its bounds', () => {
    for (const entropy of [0.2, 0.6]) expect(bandPenalty(entropy, band)).toEqual({ penalty: 0, slope: 0 });
  });

  it.each([
    [{ min: 1, max: 0.5 }, {}, 'entropyBand: bands must have min at most max; got [1, 0.5]'],
    [{ b: band }, {}, 'entropyBand: bands must have one for a; got b'],
    [
      band,
      { tokenStarts: Int32Array.of(0, 2, 4, 5, 6) },
      'tokenStarts must rise from 0 to the number of tokens (5); got 6',
    ],
    [band, { tokenStarts: Int32Array.of(0, 5) }, 'tokenStarts must have 5 elements; got 2'],
    [band, { entropy: Float64Array.of(1, 2, Number.NaN, 1, 1) }, 'entropyBand: entropy[2] must be finite; got NaN'],
  ])('refuses %j %j', (bands, other, message) => {
    expect(thrownBy(() => entropyBand({ ...input, ...other }, bands as typeof band)).message).toContain(message);
  });
});

describe('the reward of a length', () => {
  it('lies in [0, 1], rises to its peak and falls behind it', () => {
    const four = fc.array(fc.nat(50), { minLength: 4, maxLength: 4 }).map((t) => t.sort((a, b) => a - b));
    fc.assert(
      fc.property(four, (thresholds) => {
        const [start, from, to, end] = thresholds as [number, number, number, number];
        const rewards = lengthReward([...Array(60).keys()], [start, from, to, end]);
        rewards.forEach((reward, at) => {
          expect(reward >= 0 && reward <= 1).toBe(true);
          if (at >= from && at <= to) expect(reward).toBe(1);
          if (at < start || at > end) expect(reward).toBe(0);
          if (at > 0 && at <= from) expect(reward).toBeGreaterThanOrEqual(rewards[at - 1]!);
          if (at > to) expect(reward).toBeLessThanOrEqual(rewards[at - 1]!);
        });
      }),
    );
  });

  it('refuses thresholds that fall, and lengths that are none', () => {
    const fall = thrownBy(() => lengthReward([1], [3, 2, 4, 5]));
    expect(fall).toMatchObject({ code: 'INVALID_ARGUMENT', details: { argument: 'thresholds', got: '[3, 2, 4, 5]' } });
    expect(thrownBy(() => lengthReward([1, Number.NaN], [0, 1, 2, 3])).message).toContain(
      'lengths[1] must be at least 0',
    );
  });

  it('takes its share of the reward from the accuracy, if it is earned', () => {
    const reward = { overall: 0.9, accuracy: 1, format: 0 };
    expect(withLength(reward, 0.5, { weight: 0.1, gate: 'none' })).toEqual({ ...reward, length: 0.5, overall: 0.85 });
    expect(withLength(reward, 0.5, { weight: 0.1, gate: 'format' })).toMatchObject({ length: 0, overall: 0.8 });
    expect(withLength(reward, 0.5, { weight: 0, gate: 'none' })).toBe(reward);
  });

  it('near the limit is a penalty down to −1', () => {
    expect([10, 70, 80, 90, 100, 101].map((at) => overlongPenalty(at, 100, 20) + 0)).toEqual([0, 0, 0, -0.5, -1, -1]);
  });
});

it('the filter keeps what lies strictly between its bounds', () => {
  const bounds = { low: 0.25, high: 0.75 };
  const fates = [[0, 0.5], [1, 0.5], [0, 1], [0, 0], [1]].map((accuracies) => fateOf(accuracies, bounds)); // prettier-ignore
  expect(fates).toEqual(['allWrong', 'allRight', 'kept', 'allWrong', 'allRight']);
});
