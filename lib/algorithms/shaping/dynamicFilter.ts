import { wantList, wantObject } from '../../runtime/errors.ts';

/** What becomes of a group of rollouts: it can teach, or all its answers are as wrong, or as right, as the others. */
export type Fate = 'kept' | 'allWrong' | 'allRight';

/**
 * Whether a prompt can teach: its mean accuracy lies strictly between the bounds.
 *
 * @throws INVALID_ARGUMENT
 * @source arXiv:2604.08539, dynamic filtering; bounds of .01 and .99 in its released code
 */
export function fateOf(accuracies: ArrayLike<number>, bounds: { low: number; high: number }): Fate {
  wantList('fateOf', 'accuracies', accuracies);
  wantObject('fateOf', 'bounds', bounds);
  const { low, high } = bounds;
  let sum = 0;
  for (let i = 0; i < accuracies.length; i++) sum += accuracies[i]!;
  const mean = sum / accuracies.length;
  return mean <= low ? 'allWrong' : mean >= high ? 'allRight' : 'kept';
}
