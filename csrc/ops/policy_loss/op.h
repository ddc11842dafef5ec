#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Which per-token loss: reinforce −A·logp, or ppo, the clipped ratio with its dual bound. */
enum class PolicyLossKind : int32_t { reinforce = 0, ppo = 1 };

/** Weighted loss per token and its gradient; clipped is 1 where the ratio was cut at clipHigh or clipLow, 2 where the dual bound acted, else 0. */
template <class T> struct PolicyLoss {
  using Real = T;
  static constexpr auto kName = "policy_loss";
  static constexpr auto kSignature =
      "logProbs {f32|f64}[N], oldLogProbs {f32|f64}[N], advantages {f32|f64}[N], weights {f32|f64}[N], "
      "kind i32, clipLow f64, clipHigh f64, clipDual f64 -> loss {f32|f64}[N], dLogProbs {f32|f64}[N], "
      "clipped i32[N]";
  View<const T> logProbs;
  View<const T> oldLogProbs;
  View<const T> advantages;
  View<const T> weights;
  int32_t kind;
  double clipLow;
  double clipHigh;
  double clipDual;
  View<T> loss;
  View<T> dLogProbs;
  View<int32_t> clipped;
  G2_INLINE static PolicyLoss read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
