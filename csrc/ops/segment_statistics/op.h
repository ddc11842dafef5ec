#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Mean, population variance, minimum and maximum of every segment; NaN for an empty one. */
struct SegmentStatistics {
  static constexpr auto kName = "segment_statistics";
  static constexpr auto kSignature =
      "values f64[B], segmentStarts i32[S+1] -> mean f64[S], variance f64[S], minimum f64[S], maximum f64[S]";
  View<const double> values;
  View<const int32_t> segmentStarts;
  View<double> mean, variance, minimum, maximum;
  G2_INLINE static SegmentStatistics read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
