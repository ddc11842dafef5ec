#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Φ⁻¹(p) in f64, relative error below 1e-15; ∓∞ at 0 and 1, NaN outside [0, 1]. Wichura, AS 241 (PPND16). */
struct NormalQuantile {
  static constexpr auto kName = "normal_quantile";
  static constexpr auto kSignature = "p f64[N] -> quantiles f64[N]";
  View<const double> p;
  View<double> quantiles;
  G2_INLINE static NormalQuantile read(KernelArgs a) { return {a.next(), a.next()}; }
};

}  // namespace g2rpo
