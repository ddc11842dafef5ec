#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Σ x² over all tensors in f64, in a fixed order. */
template <class T, class W = T> struct SquaredNorm {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "squared_norm";
  static constexpr auto kSignature =
      "x {f32|f64|bf16}[N]* -> sum f64[1]";
  ViewList<const W> x;
  View<double> sum;
  G2_INLINE static SquaredNorm read(KernelArgs a) {
    return {a.next(), a.next()};
  }
};

}  // namespace g2rpo
