import { G2rpoError } from '../runtime/errors.ts';

/**
 * 1 if both are numbers that agree after rounding to two decimals, else 0.
 *
 * Thousands separators are removed first. Halves round to the even neighbour, so 0.125 is 0.12.
 *
 * @throws INVALID_DATA  the ground truth is not a number
 */
export function numericalReward(prediction: string, answer: string): number {
  const target = targetNumber(answer, 'numerical');
  const given = parseNumber(prediction);
  return given !== undefined && roundToHundredths(given) === roundToHundredths(target) ? 1 : 0;
}

/** The finite number a text spells, commas ignored, or undefined if it spells anything else. */
export function parseNumber(text: string): number | undefined {
  const bare = text.replaceAll(',', '').trim();
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(bare)) return undefined;
  const value = Number(bare);
  return Number.isFinite(value) ? value : undefined;
}

/** The number of a ground truth. @throws INVALID_DATA  it is not one */
export function targetNumber(answer: string, problemType: string): number {
  const value = parseNumber(answer);
  if (value !== undefined) return value;
  throw new G2rpoError(
    'INVALID_DATA',
    `${problemType}: the ground truth must be a number; got ${JSON.stringify(answer)}`,
    {
      answer,
    },
  );
}

function roundToHundredths(x: number): number {
  // the only binary fractions that lie exactly between two hundredths are odd multiples of 1/8
  const eighths = Math.abs(x) * 8;
  if (!Number.isInteger(eighths) || eighths % 2 === 0) return Number(x.toFixed(2)) + 0;
  const below = Math.floor(x * 100);
  return (below % 2 === 0 ? below : below + 1) / 100;
}
