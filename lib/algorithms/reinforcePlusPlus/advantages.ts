import { checkTokenStarts, wantLength, wantList } from '../arguments.ts';
import type { Moments } from '../groups.ts';
import { overTokens, whiten } from '../tokens.ts';

const scale = (variance: number) => Math.sqrt(variance + 1e-8);

/**
 * [N] what every token can still expect: R_t = Σ_{s ≥ t} γ^{s−t}·r_s. The reward stands on a response's last token; penalties, where
 * there are any, are taken off every token.
 */
export function returnsToGo(
  rewards: Float64Array,
  tokenStarts: Int32Array,
  gamma: number,
  penalties?: Float64Array,
): Float64Array {
  wantList('returnsToGo', 'rewards', rewards);
  checkTokenStarts('returnsToGo', tokenStarts);
  wantLength('returnsToGo', 'tokenStarts', tokenStarts, rewards.length + 1);
  const returns = new Float64Array(tokenStarts.at(-1) ?? 0);
  for (let b = 0; b < rewards.length; b++) {
    let running = rewards[b]!;
    for (let t = tokenStarts[b + 1]! - 1; t >= tokenStarts[b]!; t--) {
      running -= penalties?.[t] ?? 0;
      returns[t] = running;
      running *= gamma;
    }
  }
  return returns;
}

/**
 * [N] Returns, whitened over all tokens of the batch: a long response weighs by its length. One token alone has a variance of 0.
 *
 * @source arXiv:2501.03262; the whitening as verl has it
 */
export const advantages = (returns: Float64Array): Float64Array => whiten(returns, { std: 'sample', scale });

/** [N] The distance from the mean of the group, whitened over all tokens of the batch. @source verl, REINFORCE++ with a baseline */
export const baselineAdvantages = (rewards: Float64Array, groups: Moments, tokenStarts: Int32Array): Float64Array =>
  whiten(
    overTokens(
      rewards.map((r, b) => r - groups.mean[groups.segmentOf[b]!]!),
      tokenStarts,
    ),
    { std: 'sample', scale },
  );
