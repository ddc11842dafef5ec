#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y[p] = weights[order[p]] · silu(gate) · up, gate and up the halves of a row. */
template <class T> struct ExpertSwiGlu {
  using Real = T;
  static constexpr auto kName = "expert_swiglu";
  static constexpr auto kSignature =
      "gateUp {f32|f64}[P,2*I], weights {f32|f64}[P], order i32[P] -> y {f32|f64}[P,I]";
  View<const T> gateUp;
  View<const T> weights;
  View<const int32_t> order;
  View<T> y;
  G2_INLINE static ExpertSwiGlu read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** The gradients of ExpertSwiGlu; dGateUp may be gateUp. */
template <class T> struct ExpertSwiGluBackward {
  using Real = T;
  static constexpr auto kName = "expert_swiglu_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[P,I], gateUp {f32|f64}[P,2*I], weights {f32|f64}[P], order i32[P] -> dGateUp {f32|f64}[P,2*I], dWeights "
      "{f32|f64}[P]";
  View<const T> dY;
  View<const T> gateUp;
  View<const T> weights;
  View<const int32_t> order;
  View<T> dGateUp;
  View<T> dWeights;
  G2_INLINE static ExpertSwiGluBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
