/**
 * What makes a per-token ratio the ratio of its whole response: log-probabilities of a proximal policy that is so far from the current
 * one as the mean of its response is.
 *
 *   s = exp(mean_t (logProb_t − oldLogProb_t))      ρ_t = exp(logProb_t − result_t), which is s, with ∂ρ_t/∂logProb_t = s
 *
 * The current log-probabilities are constants in it. A token so gets the slope of its own loss (GSPO-token). In GSPO every token of a
 * response gets the mean of their slopes, which is the same where the tokens of a response weigh the same; `meanOverRows` makes
 * weights so.
 *
 * @source arXiv:2507.18071, eq. 7 and 13
 */
export function sequenceProximal(
  logProbs: ArrayLike<number>,
  oldLogProbs: ArrayLike<number>,
  tokenStarts: Int32Array,
): Float64Array {
  const proximal = new Float64Array(logProbs.length);
  for (let b = 0; b + 1 < tokenStarts.length; b++) {
    const [from, to] = [tokenStarts[b]!, tokenStarts[b + 1]!];
    let sum = 0;
    for (let i = from; i < to; i++) sum += logProbs[i]! - oldLogProbs[i]!;
    const distance = sum / (to - from);
    for (let i = from; i < to; i++) proximal[i] = logProbs[i]! - distance;
  }
  return proximal;
}

/** [N] The mean over each response, at each of its tokens. */
export function meanOverRows(values: Float64Array, tokenStarts: Int32Array): Float64Array {
  const means = new Float64Array(values.length);
  for (let b = 0; b + 1 < tokenStarts.length; b++) {
    const [from, to] = [tokenStarts[b]!, tokenStarts[b + 1]!];
    let sum = 0;
    for (let i = from; i < to; i++) sum += values[i]!;
    means.fill(sum / (to - from), from, to);
  }
  return means;
}
