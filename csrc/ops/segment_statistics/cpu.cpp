// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"

namespace g2rpo {

namespace {
using namespace simd;
using V = Vec<double>;

struct Statistics {
  double mean, variance, minimum, maximum;
};

G2_INLINE Statistics statistics(const double* x, size_t n) {
  const double nan = __builtin_nan(""), infinity = __builtin_inf();
  if (n == 0) return {nan, nan, nan, nan};
  V total{}, low = splat(infinity), high = splat(-infinity);
  Mask<double> unordered{};
  for_lanes<double>(0, n, [&](size_t i, auto at) G2_INLINED {
    const V v = at.load(x + i);
    total += v;
    low = min(at.load(x + i, infinity), low);
    high = max(at.load(x + i, -infinity), high);
    unordered |= v != v;
  });
  int64_t flags = 0;
  for (int k = 0; k < lanes<double>; k++) flags |= unordered[k];
  if (flags) return {nan, nan, nan, nan};
  const double minimum = -largest<double>(-low), maximum = largest<double>(high);
  // equal values have no spread at all, whatever their sum rounds to
  if (minimum == maximum) return {minimum, 0, minimum, maximum};
  const double mean = sum<double>(total) / static_cast<double>(n);
  V squares{};
  for_lanes<double>(0, n, [&](size_t i, auto at) G2_INLINED {
    const V d = at.load(x + i, mean) - splat(mean);
    squares = fma(d, d, squares);
  });
  return {mean, sum<double>(squares) / static_cast<double>(n), minimum, maximum};
}

}  // namespace

KERNEL(cpu, SegmentStatistics) {
  const size_t segments = op.segmentStarts.size - 1, n = op.values.size;
  const int32_t* starts = op.segmentStarts.data;
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[segments]) == n;
  for (size_t s = 0; s < segments && rising; s++) rising = starts[s] <= starts[s + 1];
  if (!rising)
    return fail(stream, "INVALID_ARGUMENT", "segment_statistics: segmentStarts must rise from 0 to the number of values");
  for_blocks(stream, segments, 256, [&](size_t begin, size_t end) {
    for (size_t s = begin; s < end; s++) {
      const Statistics found = statistics(op.values.data + starts[s], static_cast<size_t>(starts[s + 1] - starts[s]));
      op.mean[s] = found.mean;
      op.variance[s] = found.variance;
      op.minimum[s] = found.minimum;
      op.maximum[s] = found.maximum;
    }
  });
}

}  // namespace g2rpo
