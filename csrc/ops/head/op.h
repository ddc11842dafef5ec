#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Log-probability of the target and entropy of softmax(hidden·Wᵀ / temperature), never holding [N, V]. */
template <class T, class W = T> struct Head {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "head";
  static constexpr auto kSignature =
      "hidden {f32|f64}[N,H], weight {f32|f64|bf16}[V,H], targets i32[N], temperature f64 -> logProbs "
      "{f32|f64}[N], entropy {f32|f64}[N], logSumExp {f32|f64}[N]";
  View<const T> hidden;
  View<const W> weight;
  View<const int32_t> targets;
  double temperature;
  View<T> logProbs;
  View<T> entropy;
  View<T> logSumExp;
  G2_INLINE static Head read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** The gradient of Head: dz = dLogProbs·(1[j = target] − p) − dEntropy·p·(log p + entropy), divided by the temperature. */
template <class T, class W = T> struct HeadBackward {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "head_backward";
  static constexpr auto kSignature =
      "dLogProbs {f32|f64}[N], dEntropy {f32|f64}[N], hidden {f32|f64}[N,H], weight {f32|f64|bf16}[V,H], "
      "targets i32[N], logSumExp {f32|f64}[N], entropy {f32|f64}[N], &dWeight {f32|f64}[V,H]?, "
      "temperature f64 -> dHidden {f32|f64}[N,H]";
  View<const T> dLogProbs;
  View<const T> dEntropy;
  View<const T> hidden;
  View<const W> weight;
  View<const int32_t> targets;
  View<const T> logSumExp;
  View<const T> entropy;
  View<T> dWeight;
  double temperature;
  View<T> dHidden;
  G2_INLINE static HeadBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** Head, PolicyLoss and HeadBackward in one: logits of a block of tokens are computed once and held meanwhile. dLogProbs is the slope of the loss plus
 * logProbSlopes, dEntropy is entropySlopes. */
template <class T, class W = T> struct HeadPolicyLoss {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "head_policy_loss";
  static constexpr auto kSignature =
      "hidden {f32|f64}[N,H], weight {f32|f64|bf16}[V,H], targets i32[N], oldLogProbs {f32|f64}[N]?, "
      "advantages {f32|f64}[N], weights {f32|f64}[N], refLogProbs {f32|f64}[N]?, klWeights {f32|f64}[N]?, "
      "logProbSlopes {f32|f64}[N], entropySlopes {f32|f64}[N], &dWeight {f32|f64}[V,H]?, temperature f64, "
      "kind i32, clipLow f64, clipHigh f64, clipDual f64, tauPositive f64, tauNegative f64, klKind i32 -> "
      "logProbs {f32|f64}[N], entropy {f32|f64}[N], loss {f32|f64}[N], clipped i32[N], "
      "dHidden {f32|f64}[N,H]";
  View<const T> hidden;
  View<const W> weight;
  View<const int32_t> targets;
  View<const T> oldLogProbs;
  View<const T> advantages;
  View<const T> weights;
  View<const T> refLogProbs;
  View<const T> klWeights;
  View<const T> logProbSlopes;
  View<const T> entropySlopes;
  View<T> dWeight;
  double temperature;
  int32_t kind;
  double clipLow;
  double clipHigh;
  double clipDual;
  double tauPositive;
  double tauNegative;
  int32_t klKind;
  View<T> logProbs;
  View<T> entropy;
  View<T> loss;
  View<int32_t> clipped;
  View<T> dHidden;
  G2_INLINE static HeadPolicyLoss read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
