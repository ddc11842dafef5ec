/**
 * The weight of every token in a mean over all tokens: 1 / N each.
 *
 * N counts the whole mini-batch, so long responses weigh more, and micro-batches nothing.
 *
 * @source arXiv:2503.14476, token-level loss
 */
export function tokenMean(tokenStarts: Int32Array): Float32Array {
  const tokens = tokenStarts.at(-1) ?? 0;
  return new Float32Array(tokens).fill(1 / tokens);
}

/** A number per rollout, given to each of its tokens. */
export function perToken(values: Float64Array, tokenStarts: Int32Array): Float32Array {
  const tokens = new Float32Array(tokenStarts.at(-1) ?? 0);
  values.forEach((value, i) => tokens.fill(value, tokenStarts[i]!, tokenStarts[i + 1]!));
  return tokens;
}
