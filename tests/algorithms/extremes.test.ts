import { describe, expect, it } from 'vitest';
import { advantages, createAlgorithm, entropyBand } from '../../lib/index.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

const groups = ['a', 'a', 'a', 'a'];
const rewards = [1, 0, 0, 1];

describe('what no number can say is refused', () => {
  it.each(['grpo', 'dr-grpo', 'rloo', 'reinforce++-baseline', 'ema-grpo'])(
    '%s: rewards too far apart',
    async (name) => {
      for (const far of [1e308, 1e200]) {
        const error = await rejectionOf(
          advantages(name, { rewards: [far, -far, far, 0], groups, lengths: [1, 1, 1, 1] }),
        );
        expect(error.code).toBe('NON_FINITE');
      }
    },
  );

  it('ranks do not mind', async () => {
    const placed = await advantages('g2rpo', { rewards: [1e308, -1e308, 3, 0], groups });
    expect([...placed].map(Number.isFinite)).toEqual([true, true, true, true]);
  });

  it.each([[[1e30, 1, 1, 1]], [[4294967297, 1, 1, 1]], [[2e9, 1, 1, 1]], [[1.5, 1, 1, 1]], [[-1, 1, 1, 1]]])(
    'lengths %j',
    async (lengths) => {
      const error = await rejectionOf(advantages('reinforce++', { rewards, groups, lengths }));
      expect(error.code).toBe('INVALID_ARGUMENT');
      expect(error.message).toContain('lengths[0]');
    },
  );

  it.each([[[2 ** 53, 2 ** 53 + 1, 1, 1]], [[null, null, 1, 1]], [[1.5, 1, 1, 1]]])('labels %j', async (labels) => {
    const error = await rejectionOf(advantages('grpo', { rewards, groups: labels as never }));
    expect(error.code).toBe('INVALID_ARGUMENT');
  });

  it.each([
    undefined,
    null,
    {},
    { rewards: '1001', groups },
    { rewards: [1, null, 0, 1], groups },
    { rewards, groups: null },
  ])('input %j', async (input) => {
    const error = await rejectionOf(advantages('grpo', input as never));
    expect(error.code).toBe('INVALID_ARGUMENT');
  });

  it('names that every object has', () => {
    expect(thrownBy(() => createAlgorithm({ name: 'toString' })).message).toContain('got toString');
    const entropies = { entropy: Float64Array.of(1), tasks: ['toString'], tokenStarts: Int32Array.of(0, 1) };
    expect(thrownBy(() => entropyBand(entropies, { a: { min: 0, max: 1 } })).message).toContain('one for toString');
    expect(thrownBy(() => entropyBand(entropies, { min: 0, max: 1 }, Number.NaN)).message).toContain('coef');
    const fractions = { ...entropies, tokenStarts: [0, 0.5] as never };
    expect(thrownBy(() => entropyBand(fractions, { min: 0, max: 1 })).message).toContain('Int32Array');
  });
});
