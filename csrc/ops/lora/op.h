#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** merged = base + scale·b·a. */
template <class T, class W = T> struct LoraMerge {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "lora_merge";
  static constexpr auto kSignature =
      "base {f32|f64|bf16}[N,K], a {f32|f64}[R,K], b {f32|f64}[N,R], &merged {f32|f64}[N,K], scale f64 ->";
  View<const W> base;
  View<const T> a;
  View<const T> b;
  View<T> merged;
  double scale;
  G2_INLINE static LoraMerge read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** dA += scale·(dY·b)ᵀ·x, dB += scale·dYᵀ·(x·aᵀ): the gradient of the merged weight is never formed. */
template <class T> struct LoraBackward {
  using Real = T;
  static constexpr auto kName = "lora_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[M,N], x {f32|f64}[M,K], a {f32|f64}[R,K], b {f32|f64}[N,R], &dA {f32|f64}[R,K], &dB "
      "{f32|f64}[N,R], scale f64 ->";
  View<const T> dY;
  View<const T> x;
  View<const T> a;
  View<const T> b;
  View<T> dA;
  View<T> dB;
  double scale;
  G2_INLINE static LoraBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
