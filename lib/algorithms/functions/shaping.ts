import {
  checkNumbers,
  checkTokenStarts,
  describe,
  doubles,
  isObject,
  numbered,
  refuse,
  ROUNDING,
  wantLength,
  wantList,
  wantOneOf,
} from '../arguments.ts';
import type { Labels, Reals } from '../arguments.ts';
import { bandPenalty, entropyPenalty, type Band, type TaskEntropy } from '../shaping/entropyBand.ts';
import { trapezoid, type LengthThresholds } from '../shaping/lengthReward.ts';

/** Entropies of a mini-batch's tokens. */
export interface EntropyBandInput {
  /** [N] nats; or −log-probabilities of the sampled tokens, to have what the released code has */
  entropy: Reals;
  /** [B] */
  tasks: Labels;
  /** [B+1] */
  tokenStarts: Int32Array;
}

/**
 * How far the mean entropy of every task is outside its band, and the gradient of that by every token's entropy, [N] in f64.
 *
 * @param bands  by task, or one for all; a `max` of Infinity is none
 * @param coef  multiplies penalty and gradient
 * @param absent  tasks that have a band and no token: `skip` leaves them out, `count` adds what an entropy of 0 costs them, as the
 *   number does that the released code logs; it has no gradient
 * @throws INVALID_ARGUMENT  a band with min above max; a task without a band; an entropy below 0 by more than rounding
 * @throws SHAPE_MISMATCH
 * @throws NON_FINITE  an entropy is NaN or infinite, or the penalty would be
 */
export function entropyBand(
  input: EntropyBandInput,
  bands: Band | Readonly<Record<string, Band>>,
  coef = 1,
  absent: 'skip' | 'count' = 'skip',
): { penalty: number; dEntropy: Float64Array; tasks: Record<string, TaskEntropy> } {
  if (!isObject(input)) refuse('entropyBand', 'input', 'must hold entropy, tasks and tokenStarts', describe(input));
  if (!Number.isFinite(coef)) refuse('entropyBand', 'coef', 'must be finite', describe(coef));
  wantOneOf('entropyBand', 'absent', absent, ['skip', 'count']);
  const bandOfName = checkedBands(bands);
  const { ids, names } = numbered('entropyBand', 'tasks', input.tasks);
  const entropy = doubles('entropyBand', 'entropy', input.entropy);
  checkTokenStarts('entropyBand', input.tokenStarts, entropy.length);
  wantLength('entropyBand', 'tokenStarts', input.tokenStarts, ids.length + 1);
  checkNumbers('entropyBand', 'entropy', entropy, true);
  const below = entropy.findIndex((nats) => nats < -ROUNDING);
  if (below >= 0) refuse('entropyBand', `entropy[${below}]`, 'must be at least 0', String(entropy[below]), below);
  const found = entropyPenalty(entropy, ids, input.tokenStarts, (id) => bandOfName(names[id]!));
  const present = Object.fromEntries([...found.tasks].map(([id, task]) => [names[id]!, task]));
  let penalty = found.penalty;
  if (absent === 'count' && !isBand(bands))
    for (const [name, band] of Object.entries(bands))
      if (!Object.hasOwn(present, name)) penalty += bandPenalty(0, band).penalty;
  checkNumbers('entropyBand', 'the penalty of entropies or a coef this large', [coef * penalty], true);
  return { penalty: coef * penalty, dEntropy: found.slopes.map((slope) => coef * slope), tasks: present };
}

const isBand = (value: object): value is Band => typeof (value as Partial<Band>).min === 'number';

/** The band of a task. @throws INVALID_ARGUMENT  there is none; one is no band */
function checkedBands(bands: Band | Readonly<Record<string, Band>>): (task: string) => Band {
  if (!isObject(bands)) refuse('entropyBand', 'bands', 'must be a band, or one by task', describe(bands));
  const check = (argument: string, band: Band): Band => {
    if (!isObject(band)) return refuse('entropyBand', argument, 'must be a band with min and max', describe(band));
    const { min, max } = band;
    if (!(Number.isFinite(min) && typeof max === 'number' && min <= max))
      refuse('entropyBand', argument, 'must have min at most max', `[${describe(min)}, ${describe(max)}]`);
    return band;
  };
  if (isBand(bands)) {
    check('bands', bands);
    return () => bands;
  }
  for (const [task, band] of Object.entries(bands)) check(`bands.${task}`, band);
  return (task) =>
    Object.hasOwn(bands, task)
      ? bands[task]!
      : refuse('entropyBand', 'bands', `must have one for ${task}`, Object.keys(bands).join(', ') || 'none');
}

/**
 * [B] What responses of these lengths are worth: a trapezoid between 0 and 1.
 *
 * @param thresholds  minStart ≤ peakStart ≤ peakEnd ≤ maxEnd, in the unit of the lengths
 * @throws INVALID_ARGUMENT  thresholds that fall or are no four finite numbers, or a length that is none from 0
 */
export function lengthReward(lengths: ArrayLike<number>, thresholds: LengthThresholds): Float64Array {
  wantList('lengthReward', 'thresholds', thresholds);
  const four = Array.from(thresholds as ArrayLike<unknown>);
  const wrong = four.some((x, i) => !Number.isFinite(x) || (x as number) < (i === 0 ? 0 : (four[i - 1] as number)));
  if (four.length !== 4 || wrong)
    refuse('lengthReward', 'thresholds', 'must be four numbers that do not fall', `[${four.map(describe).join(', ')}]`);
  wantList('lengthReward', 'lengths', lengths);
  return Float64Array.from(lengths, (at, b) => {
    if (!(Number.isFinite(at) && at >= 0))
      refuse('lengthReward', `lengths[${b}]`, 'must be at least 0 and finite', describe(at), b);
    return trapezoid(at, thresholds);
  });
}
