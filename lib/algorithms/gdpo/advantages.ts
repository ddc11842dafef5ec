import { advantages as grpo } from '../grpo/advantages.ts';
import { momentsOf } from '../groups.ts';
import type { Segments } from '../segments.ts';
import { overTokens, whiten } from '../tokens.ts';

export const GDPO_VARIANTS = ['sequence', 'token_verl', 'token_population'] as const;
export type GdpoVariant = (typeof GDPO_VARIANTS)[number];

/**
 * Every component of the reward is normalised within its group; their sum is normalised over the whole batch, all tasks together.
 *
 *   s = Σ_k w_k·(r_k − μ_group,k)/(σ_group,k + ε)
 *   sequence           A = (s − mean s)/(std s + 1e-4) over rollouts, std over n − 1, ε = 1e-4        as in TRL
 *   token_verl         the same over all response tokens, 1/√(var + 1e-8), ε = 1e-6                   as in verl
 *   token_population   over all response tokens, std over n, 1/(std + 1e-6), ε = 1e-6                 as in the fork of EasyR1
 *
 * A component whose rewards are all equal in a group adds 0 there.
 *
 * @source arXiv:2601.05242
 */
export async function advantages(
  byGroup: Segments,
  components: readonly Float64Array[],
  weights: readonly number[],
  variant: GdpoVariant,
  tokenStarts: () => Int32Array,
): Promise<Float64Array> {
  const epsilon = variant === 'sequence' ? 1e-4 : 1e-6;
  const sum = new Float64Array(byGroup.segmentOf.length);
  for (const [k, values] of components.entries()) {
    const groups = await momentsOf(byGroup, values);
    grpo(values, groups, { std: 'sample', epsilon }).forEach((a, b) => (sum[b]! += weights[k]! * a));
  }
  if (variant === 'sequence') return whiten(sum, { std: 'sample', scale: (variance) => Math.sqrt(variance) + 1e-4 });
  const perToken = overTokens(sum, tokenStarts());
  return variant === 'token_verl'
    ? whiten(perToken, { std: 'sample', scale: (variance) => Math.sqrt(variance + 1e-8) })
    : whiten(perToken, { std: 'population', scale: (variance) => Math.sqrt(variance) + 1e-6 });
}
