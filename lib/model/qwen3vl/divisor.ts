import { G2rpoError } from '../../runtime/errors.ts';

/** By numbers from here to there f32 can divide and multiply logits of up to 1e8. */
export const DIVISORS = { least: 1e-30, most: 1e30 };

/** Whether logits can be divided by a temperature, or a repetition penalty. */
export const isDivisor = (x: unknown): x is number =>
  typeof x === 'number' && x >= DIVISORS.least && x <= DIVISORS.most;

/** What such a number is, in words. */
export const DIVISOR = `from ${DIVISORS.least} to ${DIVISORS.most}, so that f32 can divide by it`;

/** @throws INVALID_ARGUMENT */
export function wantDivisor(name: string, got: unknown): void {
  if (!isDivisor(got))
    throw new G2rpoError('INVALID_ARGUMENT', `${name} must be ${DIVISOR}; got ${String(got)}`, { got });
}
