#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))). y may be x. */
template <class T> struct GeluTanh {
  using Real = T;
  static constexpr auto kName = "gelu_tanh";
  static constexpr auto kSignature =
      "x {f32|f64}[R,I] -> y {f32|f64}[R,I]";
  View<const T> x;
  View<T> y;
  /** y in bf16, in its place: on a GPU */
  bf16* narrow_y = nullptr;
  G2_INLINE static GeluTanh read(KernelArgs a) {
    return {a.next(), a.next()};
  }
};

/** The gradient of GeluTanh; dX may be dY. */
template <class T> struct GeluTanhBackward {
  using Real = T;
  static constexpr auto kName = "gelu_tanh_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[R,I], x {f32|f64}[R,I] -> dX {f32|f64}[R,I]";
  View<const T> dY;
  View<const T> x;
  View<T> dX;
  /** dX in bf16, in its place: on a GPU */
  bf16* narrow_dX = nullptr;
  G2_INLINE static GeluTanhBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** x/2 · (1 + erf(x/√2)). y may be x. */
template <class T> struct GeluErf {
  using Real = T;
  static constexpr auto kName = "gelu_erf";
  static constexpr auto kSignature =
      "x {f32|f64}[R,I] -> y {f32|f64}[R,I]";
  View<const T> x;
  View<T> y;
  /** y in bf16, in its place: on a GPU */
  bf16* narrow_y = nullptr;
  G2_INLINE static GeluErf read(KernelArgs a) {
    return {a.next(), a.next()};
  }
};

/** The gradient of GeluErf; dX may be dY. */
template <class T> struct GeluErfBackward {
  using Real = T;
  static constexpr auto kName = "gelu_erf_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[R,I], x {f32|f64}[R,I] -> dX {f32|f64}[R,I]";
  View<const T> dY;
  View<const T> x;
  View<T> dX;
  /** dX in bf16, in its place: on a GPU */
  bf16* narrow_dX = nullptr;
  G2_INLINE static GeluErfBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
