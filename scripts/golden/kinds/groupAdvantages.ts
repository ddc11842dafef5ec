import { advantages } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

export const groupAdvantages = defineKind<{ rewards: number[]; group: string[] }>({
  name: 'advantages by group',
  inputs: ['rewards', 'group'],
  async compute({ rewards, group }, { expected }) {
    const by = (estimator: string, settings = {}) =>
      advantages(estimator, { rewards, groups: group }, { singleton: 'zero', ...settings });
    const centred = await by('dr-grpo');
    const largest = Math.max(...rewards.map(Math.abs));
    const normalised = Object.keys(expected).flatMap((key) => {
      const [, std, epsilon] = /^grpo_(sample|pop)_std_eps(.+)$/.exec(key) ?? [];
      return epsilon === undefined
        ? []
        : [{ key, std: std === 'pop' ? 'population' : 'sample', epsilon: Number(epsilon) }];
    });
    return {
      dr_grpo: centred,
      dr_grpo_over_max_abs: centred.map((a) => a / largest),
      rloo: await by('rloo'),
      passk_std: await by('pass-at-k'),
      passk_nostd: await by('pass-at-k', { normalise: false }),
      ...Object.fromEntries(
        await Promise.all(normalised.map(async ({ key, ...settings }) => [key, await by('grpo', settings)] as const)),
      ),
    };
  },
});
