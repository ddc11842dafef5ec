import fc from 'fast-check';
import type { AdvantageInput } from '../../lib/index.ts';

/** Rollouts in groups of two or more, mixed with each other, of tasks, with all that an estimator may ask for. */
export interface Batch extends AdvantageInput {
  rewards: number[];
  groups: string[];
  tasks: string[];
  lengths: number[];
  components: Record<'accuracy' | 'format' | 'structure', number[]>;
  greedyRewards: number[];
}

const reward = fc.integer({ min: -8, max: 8 }).map((x) => x / 4);
const row = fc.record({
  reward,
  group: fc.nat(4),
  length: fc.integer({ min: 1, max: 4 }),
  format: fc.nat(1),
  structure: reward,
  greedy: reward,
});

/** Batches of up to 40 rollouts; rewards are quarters, so that many are tied. */
export const batches: fc.Arbitrary<Batch> = fc.array(row, { minLength: 2, maxLength: 20 }).map((rows) => {
  const twice = [...rows, ...rows.map((each, i) => ({ ...each, reward: rows[(i + 1) % rows.length]!.reward }))];
  return {
    rewards: twice.map((each) => each.reward),
    groups: twice.map(({ group }) => `g${group}`),
    tasks: twice.map(({ group }) => `t${group % 2}`),
    lengths: twice.map(({ length }) => length),
    components: {
      accuracy: twice.map((each) => each.reward),
      format: twice.map(({ format }) => format),
      structure: twice.map(({ structure }) => structure),
    },
    greedyRewards: twice.map(({ greedy }) => greedy),
  };
});

/** A batch of these rows in this order. */
export function take(batch: Batch, order: readonly number[]): Batch {
  const of = <V>(list: V[]): V[] => order.map((i) => list[i]!);
  const { rewards, groups, tasks, lengths, components, greedyRewards } = batch;
  const { accuracy, format, structure } = components;
  return {
    rewards: of(rewards),
    groups: of(groups),
    tasks: of(tasks),
    lengths: of(lengths),
    components: { accuracy: of(accuracy), format: of(format), structure: of(structure) },
    greedyRewards: of(greedyRewards),
  };
}

/** A batch whose rewards, of whatever kind, are changed by a function. */
export const changed = (batch: Batch, change: (reward: number) => number): Batch => ({
  ...batch,
  rewards: batch.rewards.map(change),
  components: {
    accuracy: batch.components.accuracy.map(change),
    format: batch.components.format.map(change),
    structure: batch.components.structure.map(change),
  },
  greedyRewards: batch.greedyRewards.map(change),
});
