// The loss of one token, for a vector of tokens at a time; policy_loss and head_policy_loss share it. Hot files only.
// Kinds are template arguments: what is asked of a token is settled before the loop over tokens.
#pragma once
#include "../../backends/cpu/simd.h"
#include "arguments.h"
#include "op.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** An op's scalars, rounded to the type of its arithmetic, and the lists that its loss reads. */
template <class T> struct TokenLoss {
  const T *old_log_probs;  // null: those of the policy itself
  const T *advantages, *weights, *ref_log_probs, *kl_weights;
  PolicyLossKind kind;
  KlKind kl;
  T lowest;   // 1 − clipLow
  T highest;  // 1 + clipHigh
  T dual;     // 0: no dual bound
  T tau_positive, tau_negative;

  template <class Op>
  G2_INLINE explicit TokenLoss(const Op& op)
      : old_log_probs(op.oldLogProbs.size ? op.oldLogProbs.data : nullptr), advantages(op.advantages.data), weights(op.weights.data),
        ref_log_probs(op.refLogProbs.data), kl_weights(op.klWeights.data), kind(static_cast<PolicyLossKind>(op.kind)),
        kl(static_cast<KlKind>(op.klKind)), lowest(static_cast<T>(1 - op.clipLow)), highest(static_cast<T>(1 + op.clipHigh)),
        dual(static_cast<T>(op.clipDual)), tau_positive(static_cast<T>(op.tauPositive)),
        tau_negative(static_cast<T>(op.tauNegative)) {}

  struct Result {
    Vec<T> loss, slope;  // of logProbs, before the token's weight
    Mask<T> clipped;
  };
  struct Term {
    Vec<T> value, slope;
  };

  template <PolicyLossKind K> G2_INLINE Result policy(Vec<T> logProb, Vec<T> oldLogProb, Vec<T> advantage) const {
    if constexpr (K == PolicyLossKind::reinforce) return {-advantage * logProb, -advantage, Mask<T>{}};
    const Vec<T> zero{}, limit = splat<T>(20);
    const Vec<T> d = logProb - oldLogProb;
    const Mask<T> beyond = d > limit || d < -limit;
    const Vec<T> ratio = exp(d > limit ? limit : d < -limit ? -limit : d);  // NaN stays NaN
    if constexpr (K == PolicyLossKind::cispo) {
      const Mask<T> is_cut = ratio < splat<T>(lowest) || ratio > splat<T>(highest);
      const Vec<T> slope = -advantage * min(splat<T>(highest), max(splat<T>(lowest), ratio));  // in this order NaN stays NaN
      return {slope * logProb, slope, is_cut ? Mask<T>{} + 1 : Mask<T>{}};
    } else if constexpr (K == PolicyLossKind::sapo) {
      const Vec<T> tau = advantage < zero ? splat<T>(tau_negative) : splat<T>(tau_positive);
      const Vec<T> x = tau * (ratio - 1);
      // σ(|x|) and 1 − σ(|x|) from the exponential that cannot overflow: both tails keep their digits
      const Vec<T> e = exp(x < zero ? x : -x);
      const Vec<T> large = 1 / (1 + e), small = e * large;
      const Vec<T> slope = -4 * advantage * (small * large) * ratio;
      return {-4 * advantage / tau * (x < zero ? small : large), beyond ? zero : slope, Mask<T>{}};
    } else {
      const Vec<T> open = -advantage * ratio;
      const Vec<T> cut = -advantage * min(max(ratio, splat<T>(lowest)), splat<T>(highest));
      const Mask<T> is_cut = open < cut;
      Vec<T> loss = is_cut ? cut : open;
      Vec<T> slope = is_cut || beyond ? zero : open;
      Mask<T> clipped = is_cut ? Mask<T>{} + 1 : Mask<T>{};
      if (dual > 0) {
        const Vec<T> bound = -advantage * dual;
        const Mask<T> is_bound = (advantage < zero) & (loss > bound);
        loss = is_bound ? bound : loss;
        slope = is_bound ? zero : slope;
        clipped = is_bound ? Mask<T>{} + 2 : clipped;
      }
      return {loss, slope, clipped};
    }
  }

  /** x = logProb − refLogProb */
  template <KlKind K> G2_INLINE static Term divergence(Vec<T> x) {
    const Vec<T> zero{}, one = splat<T>(1), limit = splat<T>(20), most = splat<T>(10);
    if constexpr (K == KlKind::k1) return {x, one};
    if constexpr (K == KlKind::abs) return {x < zero ? -x : x, x > zero ? one : x < zero ? -one : zero};
    if constexpr (K == KlKind::k2) return {x * x * static_cast<T>(0.5), x};
    const Mask<T> beyond = x > limit || x < -limit;
    const Vec<T> u = x > limit ? -limit : x < -limit ? limit : -x;
    const Vec<T> grown = exp(u) - 1;
    const Mask<T> near = (u < zero ? -u : u) < splat<T>(static_cast<T>(0.5));
    const Vec<T> rest = excess(u);
    const Vec<T> value = near ? rest : grown + x;
    const Mask<T> cut = value > most || value < -most;
    const Vec<T> clamped = value > most ? most : value < -most ? -most : value;
    if constexpr (K == KlKind::k3_plus) return {clamped, x};
    return {clamped, beyond || cut ? zero : near ? -(u + rest) : -grown};
  }

  /** eᵘ − 1 − u for |u| < ½, where the difference would cancel: u²·Σ uᵏ/(k + 2)!, as many terms as the type has digits for. */
  G2_INLINE static Vec<T> excess(Vec<T> u) {
    constexpr T c[] = {T(0.5),           T(1.0 / 6),        T(1.0 / 24),        T(1.0 / 120),        T(1.0 / 720),
                       T(1.0 / 5040),    T(1.0 / 40320),    T(1.0 / 362880),    T(1.0 / 3628800),    T(1.0 / 39916800),
                       T(1.0 / 479001600), T(1.0 / 6227020800), T(1.0 / 87178291200), T(1.0 / 1307674368000), T(1.0 / 20922789888000)};
    constexpr int terms = sizeof(T) == 4 ? 8 : 15;
    Vec<T> p = splat<T>(c[terms - 1]);
    for (int k = terms - 2; k >= 0; k--) p = fma(p, u, splat<T>(c[k]));
    return u * u * p;
  }
};

template <PolicyLossKind K, class T>
static __attribute__((noinline)) void policy_losses(const TokenLoss<T>& of_token, const T* log_probs, size_t begin, size_t end,
                                                    T* loss, T* slope, int32_t* clipped) {
  constexpr size_t w = lanes<T>;
  const TokenLoss<T> token = of_token;  // a copy, which no list can alias
  for (size_t i = begin; i < end; i += w) {
    const size_t m = end - i < w ? end - i : w;
    const Vec<T> weight = load_n<T>(token.weights + i, m);
    const Vec<T> log_prob = load_n<T>(log_probs + i, m);
    const Vec<T> old_log_prob = token.old_log_probs ? load_n<T>(token.old_log_probs + i, m) : log_prob;
    const auto r = token.template policy<K>(log_prob, old_log_prob, load_n<T>(token.advantages + i, m));
    store_n<T>(loss + i, weight * r.loss, m);
    store_n<T>(slope + i, weight * r.slope, m);
    for (size_t k = 0; k < m; k++) clipped[i + k] = static_cast<int32_t>(r.clipped[k]);
  }
}

template <KlKind K, class T>
static __attribute__((noinline)) void add_kl(const TokenLoss<T>& of_token, const T* log_probs, size_t begin, size_t end, T* loss,
                                             T* slope) {
  constexpr size_t w = lanes<T>;
  const T *ref_log_probs = of_token.ref_log_probs, *weights = of_token.kl_weights;
  for (size_t i = begin; i < end; i += w) {
    const size_t m = end - i < w ? end - i : w;
    const Vec<T> weight = load_n<T>(weights + i, m);
    const auto term = TokenLoss<T>::template divergence<K>(load_n<T>(log_probs + i, m) - load_n<T>(ref_log_probs + i, m));
    store_n<T>(loss + i, fma(weight, term.value, load_n<T>(loss + i, m)), m);
    store_n<T>(slope + i, fma(weight, term.slope, load_n<T>(slope + i, m)), m);
  }
}

/** Weighted losses, slopes and marks of the tokens [begin, end). */
template <class T>
static void token_losses(const TokenLoss<T>& of_token, const T* log_probs, size_t begin, size_t end, T* loss, T* slope,
                         int32_t* clipped) {
  using P = PolicyLossKind;
  switch (of_token.kind) {
    case P::reinforce: policy_losses<P::reinforce>(of_token, log_probs, begin, end, loss, slope, clipped); break;
    case P::ppo: policy_losses<P::ppo>(of_token, log_probs, begin, end, loss, slope, clipped); break;
    case P::cispo: policy_losses<P::cispo>(of_token, log_probs, begin, end, loss, slope, clipped); break;
    case P::sapo: policy_losses<P::sapo>(of_token, log_probs, begin, end, loss, slope, clipped); break;
  }
  switch (of_token.kl) {
    case KlKind::none: break;
    case KlKind::k1: add_kl<KlKind::k1>(of_token, log_probs, begin, end, loss, slope); break;
    case KlKind::abs: add_kl<KlKind::abs>(of_token, log_probs, begin, end, loss, slope); break;
    case KlKind::k2: add_kl<KlKind::k2>(of_token, log_probs, begin, end, loss, slope); break;
    case KlKind::k3: add_kl<KlKind::k3>(of_token, log_probs, begin, end, loss, slope); break;
    case KlKind::k3_plus: add_kl<KlKind::k3_plus>(of_token, log_probs, begin, end, loss, slope); break;
  }
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
