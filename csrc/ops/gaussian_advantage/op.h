#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

struct GaussianAdvantage {
  static constexpr auto kName = "gaussian_advantage";
  static constexpr auto kSignature = "rewards f64[B], segmentStarts i32[S+1], tieTolerance f64 -> advantages f64[B]";
  View<const double> rewards;
  View<const int32_t> segmentStarts;
  double tieTolerance;
  View<double> advantages;
  /** For calls from C++: no segment is longer than this; 0 where that is not known, and a GPU has to be asked. */
  size_t longest = 0;
  G2_INLINE static GaussianAdvantage read(KernelArgs a) { return {a.next(), a.next(), a.next(), a.next()}; }
};

}  // namespace g2rpo
