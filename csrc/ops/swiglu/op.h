#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y = silu(gate) · up. */
template <class T> struct SwiGlu {
  using Real = T;
  static constexpr auto kName = "swiglu";
  static constexpr auto kSignature =
      "gate {f32|f64}[R,I], up {f32|f64}[R,I] -> y {f32|f64}[R,I]";
  View<const T> gate;
  View<const T> up;
  View<T> y;
  /** y in bf16, in its place: on a GPU */
  bf16* narrow_y = nullptr;
  G2_INLINE static SwiGlu read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** The gradients of SwiGlu; dGate may be gate, dUp may be up. */
template <class T> struct SwiGluBackward {
  using Real = T;
  static constexpr auto kName = "swiglu_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[R,I], gate {f32|f64}[R,I], up {f32|f64}[R,I] -> dGate {f32|f64}[R,I], dUp "
      "{f32|f64}[R,I]";
  View<const T> dY;
  View<const T> gate;
  View<const T> up;
  View<T> dGate;
  View<T> dUp;
  /** both in bf16, in their place: on a GPU */
  bf16 *narrow_dGate = nullptr, *narrow_dUp = nullptr;
  G2_INLINE static SwiGluBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
