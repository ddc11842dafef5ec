import type { TokenLoss } from '../types.ts';

/** The negative log-likelihood of `targets` tokens, as their part of a mean over `tokens`. */
export function likelihood(targets: number, tokens = targets): TokenLoss {
  return {
    kind: 'reinforce',
    advantages: new Float32Array(targets).fill(1),
    weights: new Float32Array(targets).fill(1 / tokens),
    entropySlopes: new Float32Array(targets),
    clipLow: 0,
    clipHigh: 0,
    clipDual: 0,
  };
}
