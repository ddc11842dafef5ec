// Losses of tokens on the device: for policy_loss, and for the head that goes on from them.
#pragma once
#include "../../backends/cuda/device.h"
#include "op.h"

namespace g2rpo::cuda {

/** An op's scalars, rounded to the type of its arithmetic, and its lists. */
template <class T> struct TokenLosses {
  const T *log_probs, *old_log_probs, *advantages, *weights, *ref_log_probs, *kl_weights;
  size_t n;
  PolicyLossKind kind;
  KlKind kl;
  T lowest, highest, dual, tau_positive, tau_negative;
  T *loss, *slope;
  int32_t* clipped;

  /** All lists begin so many tokens later. */
  void from(size_t first) {
    for (auto** list : {&log_probs, &old_log_probs, &advantages, &weights, &ref_log_probs, &kl_weights})
      if (*list) *list += first;
    loss += first, slope += first, clipped += first;
  }
};

template <class T> struct Term {
  T value, slope;
};

/** The loss of a token and its slope, before the weight. */
template <class T> __device__ Term<T> policy_term(const TokenLosses<T>& a, T log_prob, T old_log_prob, T advantage, int32_t& clipped) {
  clipped = 0;
  if (a.kind == PolicyLossKind::reinforce) return {-advantage * log_prob, -advantage};
  const T d = log_prob - old_log_prob, limit = 20;
  const bool beyond = d > limit || d < -limit;
  const T ratio = exp(d > limit ? limit : d < -limit ? -limit : d);  // NaN stays NaN
  // min and max that keep NaN
  const T inside = ratio < a.lowest ? a.lowest : ratio > a.highest ? a.highest : ratio;
  if (a.kind == PolicyLossKind::cispo) {
    clipped = ratio < a.lowest || ratio > a.highest;
    return {-advantage * inside * log_prob, -advantage * inside};
  }
  if (a.kind == PolicyLossKind::sapo) {
    const T tau = advantage < 0 ? a.tau_negative : a.tau_positive;
    const T x = tau * (ratio - 1);
    // σ(|x|) and 1 − σ(|x|) from the exponential that cannot overflow: both tails keep their digits
    const T e = exp(x < 0 ? x : -x), large = 1 / (1 + e), small = e * large;
    return {-4 * advantage / tau * (x < 0 ? small : large), beyond ? T(0) : -4 * advantage * (small * large) * ratio};
  }
  const T open = -advantage * ratio, cut = -advantage * inside;
  Term<T> term{open, beyond ? T(0) : open};
  if (open < cut) {
    term = {cut, 0};
    clipped = 1;
  }
  if (a.dual > 0 && advantage < 0 && term.value > -advantage * a.dual) {
    term = {-advantage * a.dual, 0};
    clipped = 2;
  }
  return term;
}

/** eᵘ − 1 − u for |u| < ½, where the difference would cancel: u²·Σ uᵏ/(k + 2)!, as many terms as the type has digits for. */
template <class T> __device__ T excess(T u) {
  const int terms = sizeof(T) == 4 ? 8 : 15;
  T sum = 0;
  for (int k = terms - 1; k >= 0; k--) {
    T factorial = 1;
    for (int i = 2; i <= k + 2; i++) factorial *= i;
    sum = fma(sum, u, 1 / factorial);
  }
  return u * u * sum;
}

/** x = logProb − refLogProb */
template <class T> __device__ Term<T> kl_term(KlKind kind, T x) {
  if (kind == KlKind::k1) return {x, 1};
  if (kind == KlKind::abs) return {x < 0 ? -x : x, x > 0 ? T(1) : x < 0 ? T(-1) : T(0)};
  if (kind == KlKind::k2) return {x * x / 2, x};
  const T limit = 20, most = 10;
  const bool beyond = x > limit || x < -limit;
  const T u = x > limit ? -limit : x < -limit ? limit : -x;
  const T grown = exp(u) - 1;
  const bool near = (u < 0 ? -u : u) < T(0.5);
  const T rest = near ? excess(u) : grown + x;
  const bool cut = rest > most || rest < -most;
  const T clamped = rest > most ? most : rest < -most ? -most : rest;
  if (kind == KlKind::k3_plus) return {clamped, x};
  return {clamped, beyond || cut ? T(0) : near ? -(u + rest) : -grown};
}

/** Writes loss, slope and clipped of a token; false where a loss or slope is not finite. */
template <class T> __device__ bool write_loss(const TokenLosses<T>& a, size_t i) {
  const T log_prob = a.log_probs[i];
  int32_t clipped;
  const auto term = policy_term(a, log_prob, a.old_log_probs ? a.old_log_probs[i] : log_prob, a.advantages[i], clipped);
  T loss = a.weights[i] * term.value, slope = a.weights[i] * term.slope;
  if (a.kl != KlKind::none) {
    const auto kl = kl_term(a.kl, log_prob - a.ref_log_probs[i]);
    loss = fma(a.kl_weights[i], kl.value, loss);
    slope = fma(a.kl_weights[i], kl.slope, slope);
  }
  a.loss[i] = loss;
  a.slope[i] = slope;
  a.clipped[i] = clipped;
  const T sum = loss + slope;
  return sum - sum == 0;
}

/** Scalars rounded to the type of the arithmetic, and lists of an op with these names. */
template <class T, class Op> TokenLosses<T> token_losses(const Op& op, size_t n, const T* log_probs, T* slope) {
  const auto real = [](double x) { return static_cast<T>(x); };
  return {log_probs,
          op.oldLogProbs.size ? op.oldLogProbs.data : nullptr,
          op.advantages.data,
          op.weights.data,
          op.refLogProbs.data,
          op.klWeights.data,
          n,
          static_cast<PolicyLossKind>(op.kind),
          static_cast<KlKind>(op.klKind),
          real(1 - op.clipLow),
          real(1 + op.clipHigh),
          real(op.clipDual),
          real(op.tauPositive),
          real(op.tauNegative),
          op.loss.data,
          slope,
          op.clipped.data};
}

}  // namespace g2rpo::cuda
