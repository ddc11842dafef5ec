import type { RewardedBatch } from '../algorithm.ts';
import { describe, doubles, isObject, numbered, refuse, wantLength, wantList, type Labels } from '../arguments.ts';
import { wantOptions } from '../../runtime/errors.ts';
import { estimatorNamed } from '../index.ts';

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
 * Where only the order of rewards matters (`g2rpo`, `gaussian-gdpo`) one may be infinite: it is above, or below, all others. Where
 * means are taken it is refused. NaN is refused by all.
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

const INPUT_KEYS = ['rewards', 'groups', 'tasks', 'lengths', 'components', 'greedyRewards'] as const;

/** Lists of any kind as an estimator wants them, copied: the caller may change them as soon as it goes on. @throws INVALID_ARGUMENT, SHAPE_MISMATCH */
export function rewardedBatch(input: AdvantageInput): RewardedBatch {
  if (!isObject(input)) refuse('advantages', 'input', 'must hold rewards and groups', describe(input));
  wantOptions('advantages', 'input', input, INPUT_KEYS);
  const rewards = doubles('advantages', 'rewards', input.rewards);
  const B = rewards.length;
  for (const key of ['groups', 'tasks', 'lengths', 'greedyRewards'] as const) {
    if (input[key] === undefined && key !== 'groups') continue;
    wantList('advantages', key, input[key]);
    wantLength('advantages', key, input[key], B);
  }
  const { groups, tasks, lengths, components, greedyRewards } = input;
  if (components !== undefined && !isObject(components))
    refuse('advantages', 'components', 'must be lists by name', describe(components));
  const task = tasks && !(tasks instanceof Int32Array) ? numbered('advantages', 'tasks', tasks) : undefined;
  return {
    rewards,
    groupIds: groups instanceof Int32Array ? groups.slice() : numbered('advantages', 'groups', groups).ids,
    taskIds: task?.ids ?? (tasks as Int32Array | undefined)?.slice() ?? new Int32Array(B),
    ...(task && { taskNames: task.names }),
    ...(lengths && { tokenStarts: startsOf(lengths) }),
    ...(components && {
      components: Object.fromEntries(
        Object.entries(components).map(([key, v]) => [key, doubles('advantages', `components.${key}`, v)]),
      ),
    }),
    ...(greedyRewards && { greedyRewards: doubles('advantages', 'greedyRewards', greedyRewards) }),
  };
}

/** [B+1] where the tokens of responses of these lengths begin. */
function startsOf(lengths: ArrayLike<number>): Int32Array {
  const starts = new Int32Array(lengths.length + 1);
  for (let b = 0; b < lengths.length; b++) {
    const [length, got] = [lengths[b]!, describe(lengths[b])];
    if (!(Number.isInteger(length) && length >= 0))
      refuse('advantages', `lengths[${b}]`, 'must be a whole number of tokens', got, b);
    if (starts[b]! + length > MOST_TOKENS)
      refuse('advantages', `lengths[${b}]`, `must leave at most ${MOST_TOKENS} tokens in a batch`, got, b);
    starts[b + 1] = starts[b]! + length;
  }
  return starts;
}

/** 2 GiB in f64. */
const MOST_TOKENS = 2 ** 28;
