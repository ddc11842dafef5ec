#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y = w · (x − mean) / √(variance + ε) + b, row by row. */
template <class T> struct LayerNorm {
  using Real = T;
  static constexpr auto kName = "layer_norm";
  static constexpr auto kSignature =
      "x {f32|f64}[R,D], weight {f32|f64}[D], bias {f32|f64}[D], epsilon f64 -> y {f32|f64}[R,D], mean "
      "{f32|f64}[R], rstd {f32|f64}[R]";
  View<const T> x;
  View<const T> weight;
  View<const T> bias;
  double epsilon;
  View<T> y;
  View<T> mean;
  View<T> rstd;
  /** y in bf16, in its place: on a GPU */
  bf16* narrow_y = nullptr;
  G2_INLINE static LayerNorm read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** dX = residual + the gradient of LayerNorm; dX may be the residual itself or dY. */
template <class T> struct LayerNormBackward {
  using Real = T;
  static constexpr auto kName = "layer_norm_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[R,D], x {f32|f64}[R,D], weight {f32|f64}[D], mean {f32|f64}[R], rstd {f32|f64}[R], "
      "residual {f32|f64}[R,D]?, &dWeight {f32|f64}[D]?, &dBias {f32|f64}[D]? -> dX {f32|f64}[R,D]";
  View<const T> dY;
  View<const T> x;
  View<const T> weight;
  View<const T> mean;
  View<const T> rstd;
  View<const T> residual;
  View<T> dWeight;
  View<T> dBias;
  View<T> dX;
  /** dX once more in bf16, or alone: on a GPU */
  bf16* narrow_dX = nullptr;
  G2_INLINE static LayerNormBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
