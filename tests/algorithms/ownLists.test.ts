import { describe, expect, it } from 'vitest';
import { advantages, ESTIMATORS, policyLoss, type AdvantageInput } from '../../lib/index.ts';
import { detached } from '../support/detached.ts';
import { rejectionOf } from '../support/thrown.ts';

/** Everything that an estimator may want. */
const batch = () => ({
  rewards: Float64Array.of(1, 0, 0, 0.5, 0.25, 1),
  groups: Int32Array.of(0, 0, 0, 1, 1, 1),
  tasks: Int32Array.of(0, 0, 0, 1, 1, 1),
  lengths: Int32Array.of(1, 2, 1, 1, 1, 1),
  components: {
    accuracy: Float64Array.of(1, 0, 0, 1, 0, 1),
    format: Float64Array.of(1, 1, 0, 0, 1, 1),
    structure: Float64Array.of(0, 1, 0, 1, 1, 0),
  },
  greedyRewards: Float64Array.of(0.5, 0.5, 0.5, 0, 0, 0),
});

/** What a caller may do to its lists as soon as it goes on. */
const changes: Record<string, (list: Float64Array | Int32Array) => void> = {
  changed: (list) => list.fill(7),
  'given away': (list) => void detached(list),
};

describe.each(Object.entries(changes))('lists that are %s behind a call', (_, change) => {
  it.each([...ESTIMATORS.keys()])('are those of the call: %s', async (name) => {
    const want = await advantages(name, batch());
    const given = batch();
    const got = advantages(name, given);
    for (const list of [given.rewards, given.groups, given.tasks, given.lengths, given.greedyRewards, ...Object.values(given.components)]) change(list); // prettier-ignore
    expect(await got).toEqual(want);
  });

  it.each(['ppo', 'gspo', 'gspo-token', 'cispo', 'sapo', 'reinforce'] as const)(
    'are those of the call: %s',
    async (loss) => {
      const input = () => ({
        logProbs: Float64Array.of(-1, -0.5, -2),
        oldLogProbs: Float64Array.of(-1.2, -0.5, -1.8),
        advantages: Float64Array.of(1, -2, -2),
        refLogProbs: Float64Array.of(-1, -0.6, -2),
        tokenStarts: Int32Array.of(0, 1, 3),
      });
      const want = await policyLoss(input(), { loss });
      const given = input();
      const got = policyLoss(given, { loss });
      for (const list of Object.values(given)) change(list);
      expect(await got).toEqual(want);
    },
  );
});

it('a list of another name is refused', async () => {
  const input = { rewards: [1, 0], groups: [0, 0], task: [0, 1] } as unknown as AdvantageInput;
  expect((await rejectionOf(advantages('g2rpo', input))).message).toBe(
    'advantages: input must hold none but rewards, groups, tasks, lengths, components, greedyRewards; got task; did you mean tasks?',
  );
  const tokens = { logProbs: [-1], oldLogProbs: [-1], advantages: [1], refLogProb: [-1] } as never;
  expect((await rejectionOf(policyLoss(tokens))).message).toMatch(/did you mean refLogProbs\?$/);
});
