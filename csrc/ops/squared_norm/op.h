#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Σ x² over all tensors in f64, in a fixed order. */
template <class T> struct SquaredNorm {
  using Real = T;
  static constexpr auto kName = "squared_norm";
  static constexpr auto kSignature =
      "x {f32|f64}[N]* -> sum f64[1]";
  ViewList<const T> x;
  View<double> sum;
  G2_INLINE static SquaredNorm read(KernelArgs a) {
    return {a.next(), a.next()};
  }
};

}  // namespace g2rpo
