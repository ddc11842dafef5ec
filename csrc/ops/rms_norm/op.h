#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Angles by which rows are turned that are heads, `heads` of a token each: cosine and sine [tokens, D / 2] (see Rotary). None where there are no heads. */
template <class T> struct HeadTurn {
  const T *cosine = nullptr, *sine = nullptr;
  size_t heads = 0;
};

/** y = w · x / √(mean x² + ε), row by row; rstd is the reciprocal root. */
template <class T> struct RmsNorm {
  using Real = T;
  static constexpr auto kName = "rms_norm";
  static constexpr auto kSignature =
      "x {f32|f64}[R,D], weight {f32|f64}[D], epsilon f64 -> y {f32|f64}[R,D], rstd {f32|f64}[R]";
  View<const T> x;
  View<const T> weight;
  double epsilon;
  View<T> y;
  View<T> rstd;
  /** y in bf16, in its place: on a GPU */
  bf16* narrow_y = nullptr;
  /** y is turned in the end, and then not in bf16 */
  HeadTurn<T> turn{};
  G2_INLINE static RmsNorm read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** dX = residual + the gradient of RmsNorm; dX may be the residual itself or dY. */
template <class T> struct RmsNormBackward {
  using Real = T;
  static constexpr auto kName = "rms_norm_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[R,D], x {f32|f64}[R,D], weight {f32|f64}[D], rstd {f32|f64}[R], residual "
      "{f32|f64}[R,D]?, &dWeight {f32|f64}[D]? -> dX {f32|f64}[R,D]";
  View<const T> dY;
  View<const T> x;
  View<const T> weight;
  View<const T> rstd;
  View<const T> residual;
  View<T> dWeight;
  View<T> dX;
  /** dX once more in bf16, or alone: on a GPU */
  bf16* narrow_dX = nullptr;
  /** dY is of a y that was turned, and need not stay what it is */
  HeadTurn<T> turn{};
  G2_INLINE static RmsNormBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
