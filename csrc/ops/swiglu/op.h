#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y = silu(gate) · up; y may be the gate itself. */
template <class T> struct SwiGlu {
  using Real = T;
  static constexpr auto kName = "swiglu";
  static constexpr auto kSignature =
      "gate {f32|f64}[R,I], up {f32|f64}[R,I] -> y {f32|f64}[R,I]";
  View<const T> gate;
  View<const T> up;
  View<T> y;
  /** all three in bf16, in their place: on a GPU */
  const bf16 *narrow_gate = nullptr, *narrow_up = nullptr;
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
  /** all five in bf16, in their place: on a GPU; dGate may be dY */
  const bf16 *narrow_dY = nullptr, *narrow_gate = nullptr, *narrow_up = nullptr;
  bf16 *narrow_dGate = nullptr, *narrow_dUp = nullptr;
  G2_INLINE static SwiGluBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
