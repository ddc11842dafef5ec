import type { RewardedBatch } from '../algorithms/index.ts';
import { packPrompts, type PolicyBatch } from '../model/qwen3vl/policyBatch.ts';
import { REWARD_COMPONENTS } from '../types.ts';
import type { Group } from './group.ts';

/** Scored groups as lists: B rollouts in the order of the groups, N tokens in the order of the rollouts. */
export interface RolloutBatch extends RewardedBatch {
  groups: readonly Group[];
  taskNames: readonly string[];
  /** [B] equal for prompts of one task type */
  shapingTaskIds: Int32Array;
  shapingTaskNames: readonly string[];
  /** [B+1] where each rollout's tokens begin in lists [N] */
  tokenStarts: Int32Array;
  /** [N] */
  rolloutLogProbs: Float32Array;
}

/** Numbers for labels, by first appearance in the batch. */
function numbered(labels: readonly string[]): { ids: Int32Array; names: string[] } {
  const names = [...new Set(labels)];
  return { ids: Int32Array.from(labels, (label) => names.indexOf(label)), names };
}

export function packBatch(groups: readonly Group[]): RolloutBatch {
  const rollouts = groups.flatMap(({ rollouts }) => rollouts);
  const tokenStarts = new Int32Array(rollouts.length + 1);
  rollouts.forEach(({ tokens }, i) => (tokenStarts[i + 1] = tokenStarts[i]! + tokens.length));
  const rolloutLogProbs = new Float32Array(tokenStarts.at(-1)!);
  rollouts.forEach((r, i) => rolloutLogProbs.set(r.rolloutLogProbs, tokenStarts[i]!));
  const tasks = numbered(rollouts.map(({ prompt }) => prompt.problemType.toLowerCase()));
  const shapingTasks = numbered(rollouts.map(({ prompt }) => prompt.taskType));
  const greedy = groups.flatMap(({ greedyReward, rollouts }) => rollouts.map(() => greedyReward));
  return {
    groups,
    rewards: Float64Array.from(rollouts, ({ reward }) => reward.overall),
    groupIds: Int32Array.from(rollouts, ({ groupId }) => groupId),
    taskIds: tasks.ids,
    taskNames: tasks.names,
    shapingTaskIds: shapingTasks.ids,
    shapingTaskNames: shapingTasks.names,
    components: Object.fromEntries(
      REWARD_COMPONENTS.map((name) => [name, Float64Array.from(rollouts, ({ reward }) => reward[name] ?? 0)]),
    ),
    ...(greedy.every((reward) => reward !== undefined) && { greedyRewards: Float64Array.from(greedy) }),
    tokenStarts,
    rolloutLogProbs,
  };
}

/** Some rollouts of one group, which the policy sees behind one copy of their prompt. */
export interface Slice {
  group: Group;
  /** index in the batch of the first of its rollouts … */
  first: number;
  /** … which are rollouts[from … to) of the group */
  from: number;
  to: number;
}

/**
 * Cuts groups into micro-batches of at most `budget` rows, in order. A group is split, and its prompt repeated, only if it does
 * not fit into a micro-batch of its own; a single rollout that does not fit is a micro-batch of its own.
 */
export function microBatches(groups: readonly Group[], budget: number): Slice[][] {
  const micros: Slice[][] = [[]];
  let rows = 0;
  let first = 0;
  for (const group of groups) {
    const prompt = group.encoded.inputIds.length;
    const whole = group.rollouts.reduce((n, { tokens }) => n + tokens.length - 1, prompt);
    if (rows + whole > budget && whole <= budget) {
      micros.push([]);
      rows = 0;
    }
    let open: Slice | undefined;
    group.rollouts.forEach(({ tokens }, i) => {
      const more = tokens.length - 1 + (open ? 0 : prompt);
      if (rows > 0 && rows + more > budget) {
        micros.push([]);
        rows = 0;
        open = undefined;
      }
      if (!open) {
        open = { group, first: first + i, from: i, to: i };
        micros.at(-1)!.push(open);
        rows += prompt;
      }
      open.to = i + 1;
      rows += tokens.length - 1;
    });
    first += group.rollouts.length;
  }
  return micros.filter((m) => m.length > 0);
}

/**
 * Prompts once, responses behind them: the last row of a prompt predicts the first token of each of its responses, and every
 * response token but the last is a row that predicts the next. Targets stand in the order of the rollouts.
 */
export function packSlices(slices: readonly Slice[], merge: number): PolicyBatch {
  const prompts = packPrompts(
    slices.map(({ group }) => group.encoded),
    merge,
  );
  const promptRows = prompts.inputIds.length;
  const responses = slices.flatMap(({ group, from, to }, z) =>
    group.rollouts.slice(from, to).map(({ tokens }) => ({ tokens, encoded: group.encoded, z })),
  );
  const rows = responses.reduce((n, { tokens }) => n + tokens.length - 1, promptRows);
  const targets = responses.reduce((n, { tokens }) => n + tokens.length, 0);

  const inputIds = new Int32Array(rows);
  inputIds.set(prompts.inputIds);
  const positionIds = new Int32Array(3 * rows);
  for (let axis = 0; axis < 3; axis++)
    positionIds.set(prompts.positionIds.subarray(axis * promptRows, (axis + 1) * promptRows), axis * rows);
  const segmentStarts = new Int32Array(slices.length + responses.length + 1);
  segmentStarts.set(prompts.segmentStarts);
  const segmentPrefix = new Int32Array(slices.length + responses.length).fill(-1);
  const targetRows = new Int32Array(targets);
  const targetIds = new Int32Array(targets);

  let [row, target] = [promptRows, 0];
  responses.forEach(({ tokens, encoded, z }, i) => {
    const behind = encoded.inputIds.length + encoded.ropeDelta;
    tokens.forEach((id, t) => {
      targetRows[target] = t === 0 ? prompts.segmentStarts[z + 1]! - 1 : row - 1;
      targetIds[target++] = id;
      if (t === tokens.length - 1) return;
      inputIds[row] = id;
      for (let axis = 0; axis < 3; axis++) positionIds[axis * rows + row] = behind + t;
      row++;
    });
    segmentStarts[slices.length + i + 1] = row;
    segmentPrefix[slices.length + i] = z;
  });
  return { ...prompts, inputIds, positionIds, segmentStarts, segmentPrefix, targetRows, targetIds };
}
