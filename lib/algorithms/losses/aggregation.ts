import { wantObject } from '../../runtime/errors.ts';
import { checkTokenStarts, wantOneOf } from '../arguments.ts';

export const AGGREGATIONS = [
  'token-mean',
  'seq-mean-token-sum',
  'seq-mean-token-mean',
  'seq-mean-token-sum-norm',
  'easyr1-seq',
] as const;
export type Aggregation = (typeof AGGREGATIONS)[number];

export interface AggregationSettings {
  aggregation: Aggregation;
  /** the constant that `seq-mean-token-sum-norm` divides by; default the longest response */
  lengthNormaliser?: number | undefined;
  /** `seq-mean-token-sum-norm` divides by the number of responses too, as in the paper of Dr.GRPO; verl does not */
  divideByRows?: boolean | undefined;
}

/**
 * [N] The weight of every token in the loss, which is their weighted sum. L is a response's length, B₊ how many responses have a
 * token, B how many there are, N all tokens.
 *
 *   token-mean                1 / N
 *   seq-mean-token-sum        1 / B₊
 *   seq-mean-token-mean       1 / (B₊·L)
 *   seq-mean-token-sum-norm   1 / C, or 1 / (C·B₊)
 *   easyr1-seq                1 / (B·L)
 *
 * All counts are of the whole mini-batch, so that micro-batches change nothing.
 *
 * @throws INVALID_ARGUMENT
 * @source arXiv:2503.14476 (token-mean); arXiv:2503.20783 (sum over a constant); verl and EasyR1 for the names
 */
export function tokenWeights(tokenStarts: Int32Array, settings: AggregationSettings): Float64Array<ArrayBuffer> {
  wantObject('tokenWeights', 'settings', settings);
  const { aggregation, lengthNormaliser, divideByRows = false } = settings;
  wantOneOf('tokenWeights', 'aggregation', aggregation, AGGREGATIONS);
  checkTokenStarts('tokenWeights', tokenStarts);
  const rows = tokenStarts.length - 1;
  const lengths = Array.from({ length: rows }, (_, b) => tokenStarts[b + 1]! - tokenStarts[b]!);
  const filled = lengths.filter((length) => length > 0).length;
  const weights = new Float64Array(tokenStarts.at(-1) ?? 0);
  const normaliser = lengthNormaliser ?? lengths.reduce((a, b) => Math.max(a, b), 0);
  const weightOf: Record<Aggregation, (length: number) => number> = {
    'token-mean': () => 1 / weights.length,
    'seq-mean-token-sum': () => 1 / filled,
    'seq-mean-token-mean': (length) => 1 / (filled * length),
    'seq-mean-token-sum-norm': () => 1 / (normaliser * (divideByRows ? filled : 1)),
    'easyr1-seq': (length) => 1 / (rows * length),
  };
  lengths.forEach((length, b) => weights.fill(weightOf[aggregation](length), tokenStarts[b], tokenStarts[b + 1]));
  return weights;
}
