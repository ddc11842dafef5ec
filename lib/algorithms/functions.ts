import { KL_KINDS as KERNEL_KL_KINDS, POLICY_LOSS_KINDS, policyLoss as kernel } from '../kernels/policyLoss.ts';
import { G2rpoError } from '../runtime/errors.ts';
import { Scope, tensor } from '../runtime/tensor.ts';
import type { RewardedBatch } from './algorithm.ts';
import { refuseUnknown } from './estimator.ts';
import { checkNumbers, checkTokenStarts, refuse, wantLength } from './groups.ts';
import { estimatorNamed } from './index.ts';
import type { LossConfig } from './losses/config.ts';
import { lossConfig } from './losses/config.ts';
import { separableLoss } from './losses/policyLoss.ts';
import { bandPenalty, entropyPenalty, type Band, type TaskEntropy } from './shaping/entropyBand.ts';
import { trapezoid, type LengthThresholds } from './shaping/lengthReward.ts';
import { z } from 'zod';

export type Reals = Float32Array | Float64Array;
/** Labels: rows with equal ones belong together. */
export type Labels = ArrayLike<number | string>;

/** B rollouts, as another trainer has them. */
export interface AdvantageInput {
  /** [B] */
  rewards: ArrayLike<number>;
  /** [B] rollouts of one prompt; they need not be neighbours */
  groups: Labels;
  /** [B] prompts of one task; default: all are of one */
  tasks?: Labels;
  /** [B] tokens of every response; for estimators over tokens */
  lengths?: ArrayLike<number>;
  /** [B] each; for estimators that compare components */
  components?: Readonly<Record<string, ArrayLike<number>>>;
  /** [B] reward of the greedy answer to the same prompt; for ReMax */
  greedyRewards?: ArrayLike<number>;
}

/**
 * [B] how much better than the others every rollout is; [N], token after token, for an estimator over tokens.
 *
 * @param settings  keys of the estimator, as in a configuration: `{ mode: 'task' }`, `{ std: 'population' }`
 * @throws INVALID_ARGUMENT  there is no such estimator (with the nearest), a setting is out of its domain, a group crosses tasks or is
 *   of one where rollouts are compared with a mean
 * @throws SHAPE_MISMATCH, NON_FINITE  naming the list and the row
 */
export async function advantages(
  estimator: string,
  input: AdvantageInput,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<Float64Array> {
  return estimatorNamed(estimator).make(settings).advantages(rewardedBatch(input));
}

/** Lists of any kind as an estimator wants them. */
export function rewardedBatch(input: AdvantageInput): RewardedBatch {
  const { rewards, groups, tasks, lengths, components, greedyRewards } = input ?? {};
  for (const [name, list] of Object.entries({ rewards, groups }))
    if (!isList(list)) refuse('advantages', name, 'must be a list, one entry per rollout', describe(list));
  const B = rewards.length;
  wantLength('advantages', 'groups', groups, B);
  wantLength('advantages', 'tasks', tasks, B);
  wantLength('advantages', 'lengths', lengths, B);
  wantLength('advantages', 'greedyRewards', greedyRewards, B);
  const task = numbered(tasks ?? new Int32Array(B));
  let tokenStarts: Int32Array | undefined;
  if (lengths) {
    tokenStarts = new Int32Array(B + 1);
    for (let b = 0; b < B; b++) {
      if (!(Number.isInteger(lengths[b]) && lengths[b]! >= 0))
        refuse('advantages', `lengths[${b}]`, 'must be a whole number of tokens', String(lengths[b]));
      if (tokenStarts[b]! + lengths[b]! > MOST_TOKENS)
        refuse(
          'advantages',
          `lengths[${b}]`,
          `must leave at most ${MOST_TOKENS} tokens in a batch`,
          String(lengths[b]),
        );
      tokenStarts[b + 1] = tokenStarts[b]! + lengths[b]!;
    }
  }
  return {
    rewards: doubles('rewards', rewards),
    groupIds: groups instanceof Int32Array ? groups : numbered(groups).ids,
    taskIds: task.ids,
    taskNames: task.names,
    ...(tokenStarts && { tokenStarts }),
    ...(components && {
      components: Object.fromEntries(
        Object.entries(components).map(([key, v]) => [key, doubles(`components.${key}`, v)]),
      ),
    }),
    ...(greedyRewards && { greedyRewards: doubles('greedyRewards', greedyRewards) }),
  };
}

/** 2 GiB in f64. */
const MOST_TOKENS = 2 ** 28;

const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
const describe = (value: unknown): string =>
  typeof value === 'object' && value !== null ? (value.constructor?.name ?? 'an object') : String(value);

/** A list in f64; one that is so already is not copied, for nobody changes it. @throws INVALID_ARGUMENT  an entry is no number */
function doubles(argument: string, values: ArrayLike<number>): Float64Array {
  if (values instanceof Float64Array && values.buffer instanceof ArrayBuffer) return values;
  if (!isList(values)) refuse('advantages', argument, 'must be a list of numbers', describe(values));
  if (values instanceof Float64Array || values instanceof Float32Array || values instanceof Int32Array)
    return Float64Array.from(values);
  return Float64Array.from(values as ArrayLike<number>, (value, b) =>
    typeof value === 'number'
      ? value
      : refuse('advantages', `${argument}[${b}]`, 'must be a number', describe(value), b),
  );
}

/** Labels as numbers from 0, by first appearance. */
function numbered(labels: Labels): { ids: Int32Array; names: string[] } {
  const numbers = new Map<number | string, number>();
  const ids = new Int32Array(labels.length);
  let [last, id]: [number | string | undefined, number] = [undefined, -1]; // labels mostly come in runs
  for (let b = 0; b < labels.length; b++) {
    const label = labels[b]!;
    if (label !== last) {
      // numbers beyond those that a double holds apart would bring strangers together
      if (typeof label !== 'string' && !Number.isSafeInteger(label))
        refuse('labels', `[${b}]`, 'must be texts or whole numbers below 2⁵³', describe(label), b);
      last = label;
      id = numbers.get(label) ?? numbers.size;
      if (id === numbers.size) numbers.set(label, id);
    }
    ids[b] = id;
  }
  return { ids, names: [...numbers.keys()].map(String) };
}

/** Tokens of a mini-batch, lists [N] of one type, all f32 or all f64. */
export interface PolicyLossInput<A extends Reals = Reals> {
  logProbs: A;
  oldLogProbs: A;
  advantages: A;
  /** [B+1] where each response begins; default: all tokens are of one response */
  tokenStarts?: Int32Array;
  /** as reported by the engine that sampled */
  rolloutLogProbs?: A;
  /** of the reference policy */
  refLogProbs?: A;
  /** multiply the policy loss of every token: a correction of your own, beside or instead of `rolloutCorrection` */
  importanceWeights?: A;
}

const NEEDED = ['oldLogProbs', 'advantages'] as const;
const lossSettings = z.strictObject(lossConfig);
export type PolicyLossSettings = z.input<typeof lossSettings>;

/**
 * A policy loss over a mini-batch, with its gradient.
 *
 * `perToken` is what each token adds before it is weighed, `weights` what weighs it, KL term and importance weights included;
 * `loss` is the sum of what they make, `dLogProbs` its gradient, of the type of the input.
 *
 * @param settings  as in a configuration: `{ loss: 'gspo', aggregation: 'seq-mean-token-mean', clipRange: { low: 3e-4 } }`
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, NON_FINITE
 */
export async function policyLoss<A extends Reals>(
  input: PolicyLossInput<A>,
  settings: PolicyLossSettings = {},
): Promise<{ loss: number; perToken: A; weights: A; dLogProbs: A; clipped: Int32Array }> {
  const config = settingsOf(settings);
  const { logProbs } = input;
  const N = logProbs.length;
  for (const key of [...NEEDED, 'rolloutLogProbs', 'refLogProbs', 'importanceWeights'] as const) {
    const list = input[key];
    wantLength('policyLoss', key, list, N);
    if (list && list.constructor !== logProbs.constructor)
      throw new G2rpoError(
        'DTYPE_MISMATCH',
        `policyLoss: ${key} must be a ${logProbs.constructor.name}, as logProbs is; got a ${list.constructor.name}`,
        { argument: key, wanted: logProbs.constructor.name, got: list.constructor.name },
      );
  }
  const tokenStarts = input.tokenStarts ?? Int32Array.of(0, N);
  checkTokenStarts('policyLoss', tokenStarts, N);
  for (const key of ['rolloutLogProbs', 'refLogProbs', 'importanceWeights'] as const)
    if (input[key]) checkNumbers('policyLoss', key, input[key], true);
  const klOn = config.kl.coef > 0 && config.kl.in === 'loss';
  if (klOn && !input.refLogProbs) refuse('policyLoss', 'refLogProbs', 'are wanted by a KL term', 'none');

  const lists = await separableLoss({ ...input, tokenStarts }, config, config.kl.coef, () => Promise.resolve(logProbs));
  const typed = (values: ArrayLike<number>) =>
    (logProbs instanceof Float64Array ? Float64Array : Float32Array).from(values) as A;
  using scope = new Scope();
  const run = (weights: ArrayLike<number>, klWeights: ArrayLike<number>) =>
    kernel({
      logProbs: tensor(logProbs as never, [N], scope),
      oldLogProbs: typed(lists.oldLogProbs) as never,
      advantages: typed(lists.advantages) as never,
      weights: typed(weights) as never,
      refLogProbs: typed(input.refLogProbs ?? new Float32Array(N)) as never,
      klWeights: typed(klWeights) as never,
      klKind: klOn ? KERNEL_KL_KINDS[config.kl.kind] : KERNEL_KL_KINDS.none,
      kind: POLICY_LOSS_KINDS[lists.kind],
      clipLow: lists.clipLow,
      clipHigh: lists.clipHigh,
      clipDual: lists.clipDual,
      tauPositive: lists.tau.positive,
      tauNegative: lists.tau.negative,
    });
  const whole = run(lists.weights, lists.klWeights ?? new Float64Array(N));
  const bare = run(new Float64Array(N).fill(1), new Float64Array(N));
  const [losses, dLogProbs, clipped, perToken] = await Promise.all([
    whole.loss.read(),
    whole.dLogProbs.read(),
    whole.clipped.read(),
    bare.loss.read(),
  ]);
  let loss = 0;
  for (const each of losses) loss += each;
  return { loss, perToken: perToken as A, weights: typed(lists.weights), dLogProbs: dLogProbs as A, clipped };
}

/** @throws INVALID_ARGUMENT  all problems at once */
function settingsOf(settings: PolicyLossSettings): LossConfig {
  refuseUnknown('policyLoss', settings, Object.keys(lossConfig));
  const parsed = lossSettings.safeParse(settings);
  if (parsed.success) return parsed.data;
  throw new G2rpoError(
    'INVALID_ARGUMENT',
    parsed.error.issues
      .map(({ path, message }) => `policyLoss: ${[...path.map(String)].join('.')}: ${message}`)
      .join('\n'),
    { argument: parsed.error.issues[0]?.path.join('.') },
  );
}

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
 * @param bands  by task, or one for all
 * @param coef  multiplies penalty and gradient
 * @param absent  tasks that have a band and no token: `skip` leaves them out, `count` adds what an entropy of 0 costs them, as the
 *   number does that the released code logs; it has no gradient
 * @throws INVALID_ARGUMENT  a band with min above max; a task without a band
 */
export function entropyBand(
  { entropy, tasks, tokenStarts }: EntropyBandInput,
  bands: Band | Readonly<Record<string, Band>>,
  coef = 1,
  absent: 'skip' | 'count' = 'skip',
): { penalty: number; dEntropy: Float64Array; tasks: Record<string, TaskEntropy> } {
  if (!Number.isFinite(coef)) refuse('entropyBand', 'coef', 'must be finite', String(coef));
  if (typeof bands !== 'object' || bands === null)
    refuse('entropyBand', 'bands', 'must be a band, or one by task', describe(bands));
  wantLength('entropyBand', 'tokenStarts', tokenStarts, tasks.length + 1);
  checkTokenStarts('entropyBand', tokenStarts, entropy.length);
  checkNumbers('entropyBand', 'entropy', entropy, true);
  const { ids, names } = numbered(tasks);
  const isBand = (value: unknown): value is Band => typeof (value as Band).min === 'number';
  const bandOf = (id: number): Band => {
    const name = names[id]!;
    const band = isBand(bands) ? bands : Object.hasOwn(bands, name) ? bands[name] : undefined;
    if (!band)
      return refuse('entropyBand', 'bands', `must have one for ${name}`, Object.keys(bands).join(', ') || 'none');
    if (!(band.min <= band.max))
      refuse('entropyBand', `the band of ${name}`, 'must have min at most max', `[${band.min}, ${band.max}]`);
    return band;
  };
  const found = entropyPenalty(entropy, ids, tokenStarts, bandOf);
  const present = Object.fromEntries([...found.tasks].map(([id, task]) => [names[id]!, task]));
  let penalty = found.penalty;
  if (absent === 'count' && !isBand(bands))
    for (const [name, band] of Object.entries(bands))
      if (!Object.hasOwn(present, name)) penalty += bandPenalty(0, band).penalty;
  return { penalty: coef * penalty, dEntropy: found.slopes.map((slope) => coef * slope), tasks: present };
}

/**
 * [B] What responses of these lengths are worth: a trapezoid between 0 and 1.
 *
 * @param thresholds  minStart ≤ peakStart ≤ peakEnd ≤ maxEnd, in the unit of the lengths
 * @throws INVALID_ARGUMENT  thresholds that fall, or a length that is negative or NaN
 */
export function lengthReward(lengths: ArrayLike<number>, thresholds: LengthThresholds): Float64Array {
  if (thresholds.length !== 4 || !thresholds.every((x, i) => (i === 0 ? x >= 0 : thresholds[i - 1]! <= x)))
    refuse('lengthReward', 'thresholds', 'must be four numbers that do not fall', `[${thresholds.join(', ')}]`);
  return Float64Array.from(lengths, (at, b) => {
    if (!(at >= 0)) refuse('lengthReward', `lengths[${b}]`, 'must be at least 0', String(at));
    return trapezoid(at, thresholds);
  });
}
