#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y[p] = x[p]·W[e] for the rows p of expert e, [starts[e], starts[e+1]): one product per expert. */
template <class T, class W = T> struct ExpertLinear {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "expert_linear";
  static constexpr auto kSignature =
      "x {f32|f64}[P,K], starts i32[E+1], weight {f32|f64|bf16}[E,K,N] -> y {f32|f64}[P,N]";
  View<const T> x;
  View<const int32_t> starts;
  View<const W> weight;
  View<T> y;
  G2_INLINE static ExpertLinear read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** dX[p] = dY[p]·W[e]ᵀ. */
template <class T, class W = T> struct ExpertLinearBackwardInput {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "expert_linear_backward_input";
  static constexpr auto kSignature =
      "dY {f32|f64}[P,N], starts i32[E+1], weight {f32|f64|bf16}[E,K,N] -> dX {f32|f64}[P,K]";
  View<const T> dY;
  View<const int32_t> starts;
  View<const W> weight;
  View<T> dX;
  G2_INLINE static ExpertLinearBackwardInput read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** dW[e] += xᵀ·dY over the rows of e. */
template <class T> struct ExpertLinearBackwardWeight {
  using Real = T;
  static constexpr auto kName = "expert_linear_backward_weight";
  static constexpr auto kSignature =
      "dY {f32|f64}[P,N], x {f32|f64}[P,K], starts i32[E+1], &dWeight {f32|f64}[E,K,N] ->";
  View<const T> dY;
  View<const T> x;
  View<const int32_t> starts;
  View<T> dWeight;
  G2_INLINE static ExpertLinearBackwardWeight read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
