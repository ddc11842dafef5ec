#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Which per-token loss: reinforce −A·logp; ppo, the clipped ratio with its dual bound; cispo, the clipped ratio as a constant
 * weight of reinforce; sapo, the ratio behind a sigmoid gate. */
enum class PolicyLossKind : int32_t { reinforce = 0, ppo = 1, cispo = 2, sapo = 3 };

/** Which estimator of the KL divergence from the reference policy; k3_plus has the value of k3 and the slope of k2. */
enum class KlKind : int32_t { none = 0, k1 = 1, abs = 2, k2 = 3, k3 = 4, k3_plus = 5 };

/** Weighted loss per token and its gradient, with a KL term unless klKind is none, which reads neither refLogProbs nor klWeights;
 * clipped is 1 where the ratio was cut at clipHigh or clipLow, 2 where the dual bound acted, else 0. */
template <class T> struct PolicyLoss {
  using Real = T;
  static constexpr auto kName = "policy_loss";
  static constexpr auto kSignature =
      "logProbs {f32|f64}[N], oldLogProbs {f32|f64}[N]?, advantages {f32|f64}[N], weights {f32|f64}[N], "
      "refLogProbs {f32|f64}[N]?, klWeights {f32|f64}[N]?, kind i32, clipLow f64, clipHigh f64, clipDual f64, "
      "tauPositive f64, tauNegative f64, klKind i32 -> loss {f32|f64}[N], dLogProbs {f32|f64}[N], "
      "clipped i32[N]";
  View<const T> logProbs;
  View<const T> oldLogProbs;
  View<const T> advantages;
  View<const T> weights;
  View<const T> refLogProbs;
  View<const T> klWeights;
  int32_t kind;
  double clipLow;
  double clipHigh;
  double clipDual;
  double tauPositive;
  double tauNegative;
  int32_t klKind;
  View<T> loss;
  View<T> dLogProbs;
  View<int32_t> clipped;
  G2_INLINE static PolicyLoss read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
