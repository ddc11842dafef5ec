import { parseNumber, targetNumber } from './numerical.ts';

/**
 * Mean relative accuracy: how many of ten ever stricter thresholds the relative error stays below.
 *
 * @throws INVALID_DATA  the ground truth is not a number
 */
export function regressionReward(prediction: string, answer: string): number {
  const target = targetNumber(answer, 'regression');
  const given = parseNumber(prediction);
  return given === undefined ? 0 : meanRelativeAccuracy(given, target);
}

/**
 * The share of θ in {0.50, 0.55, …, 0.95} with |p − g| / (|g| + 1e-8) < 1 − θ.
 *
 * With a target of 0 only a prediction within about 5e-9 scores.
 */
export function meanRelativeAccuracy(prediction: number, target: number): number {
  const error = Math.abs(prediction - target) / (Math.abs(target) + 1e-8);
  let hits = 0;
  for (let k = 1; k <= 10; k++) if (error < (5 * k) / 100) hits++;
  return hits / 10;
}
