import type { Band } from './entropyBand.ts';
import type { LengthThresholds } from './lengthReward.ts';

/** An answer counts as right from this accuracy on. */
export const CORRECT = 0.5;
/** Quantiles of the lengths of right answers at which the reward of a length begins, is full, falls, and ends. */
export const LENGTH_QUANTILES = [0.02, 0.2, 0.8, 0.98] as const;
/** Quantiles of the mean entropies of right answers between which a task's entropy may lie. */
export const ENTROPY_QUANTILES = [0.1, 0.9] as const;
/** Digits behind the point of an entropy bound. */
const DIGITS = 3;

/** The value below which a share of the sorted values lies, on a straight line between neighbours. Undefined for none. */
export function quantile(sorted: ArrayLike<number>, share: number): number | undefined {
  if (sorted.length === 0) return undefined;
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (above - below) * (at - Math.floor(at));
}

export const sorted = (values: ArrayLike<number>): Float64Array => Float64Array.from(values).sort();

/**
 * Thresholds of a length reward under which right answers are as they are: whole numbers that rise, at the quantiles of their
 * lengths or, where these are too close, outside of them.
 *
 *   [≤ 2 %, ≤ 20 %, ≥ 80 %, ≥ 98 %]
 *
 * @param lengths  of right answers, at least one
 */
export function proposeThresholds(lengths: ArrayLike<number>): LengthThresholds {
  const all = sorted(lengths);
  const [first, low, high, last] = LENGTH_QUANTILES.map((share) => quantile(all, share)!) as [
    ...[number, number, number, number],
  ];
  const peakStart = Math.max(1, Math.floor(low));
  const peakEnd = Math.max(Math.ceil(high), peakStart + 1);
  return [
    Math.max(0, Math.min(Math.floor(first), peakStart - 1)),
    peakStart,
    peakEnd,
    Math.max(Math.ceil(last), peakEnd + 1),
  ];
}

/**
 * A band in which the mean entropies of right answers lie, all but a tenth on either side; nats, three digits, rounded outwards. The
 * mean over a task's tokens, which the band is for, varies less than the means over responses that it is made of.
 *
 * @param entropies  mean over the tokens of each right answer, at least one
 */
export function proposeBand(entropies: ArrayLike<number>): Band {
  const all = sorted(entropies);
  const [low, high] = ENTROPY_QUANTILES.map((share) => quantile(all, share)!) as [number, number];
  const unit = 10 ** DIGITS;
  const min = Math.max(0, Math.floor(low * unit));
  return { min: min / unit, max: Math.max(Math.ceil(high * unit), min + 1) / unit };
}
