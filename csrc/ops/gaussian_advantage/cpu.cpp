// hot
// Ranks by counting for small segments and by sorting for large ones; the quantiles come from a table per segment size.
#include "../../backends/cpu/simd.h"
#include "../../core/arena.h"
#include "op.h"
#include "small.h"
#include "sort.h"
#include "table.h"

namespace g2rpo {

namespace {

constexpr size_t kFetched = 4096;  // advantages that are fetched before they are written in the order of their rewards

/** A segment whose ranks are counted. Which ranks are tied can be told from how many share a number of smaller ones. */
void counted_segment(const double* x, size_t n, const Table& table, double* out) {
  int64_t less[kCounted];
  double means[kCounted];
  const double* mean = table.single;
  if (count_less(x, n, less) != n * (n - 1) / 2) {
    uint8_t tied[kCounted] = {};
    for (size_t i = 0; i < n; i++) tied[less[i]]++;
    for (size_t b = 0; b < n; b += tied[b]) means[b] = table.mean(b, b + tied[b]);
    mean = means;
  }
  for (size_t i = 0; i < n; i++) out[i] = mean[less[i]];
}

/**
 * A segment of few different values, as rewards by rule have, and ranks in groups of one size: where none shares its bucket with another,
 * counting them is all there is to do. Returns false, and writes nothing, if they are not so few; what is seen soon.
 */
bool few_values(const double* x, size_t n, double low, double high, double tolerance, const Table& table, double* out) {
  constexpr size_t kBuckets = 256, kTried = 32, kFew = 24;
  const double scale = static_cast<double>(kBuckets - 1) / (high - low);
  if (n < 8 * kTried || !(high - low < __builtin_inf() && scale < __builtin_inf())) return false;
  Scratch scratch;
  int32_t* bucket = scratch.take<int32_t>(n + simd::lanes<double>);
  uint32_t count[kBuckets] = {};
  double value[kBuckets];  // of those that are not empty
  for (size_t first = 0, last = kTried; first < n; first = last, last = n) {
    find_buckets(x + first, last - first, low, scale, bucket + first);
    for (size_t i = first; i < last; i++) {
      count[bucket[i]]++;
      value[bucket[i]] = x[i];
    }
    bool share = false;
    for (size_t i = 0; i < last; i++) share |= value[bucket[i]] != x[i];
    if (share) return false;
    uint32_t found = 0;
    for (size_t b = 0; b < kBuckets; b++) found += count[b] > 0;
    if (found > kFew) return false;
  }
  double mean[kBuckets];
  size_t filled[kBuckets], fills = 0;
  for (size_t b = 0; b < kBuckets; b++)
    if (count[b]) filled[fills++] = b;
  size_t rank = 0;
  for (size_t f = 0, next = 0; f < fills; f = next) {
    size_t end = rank;
    do end += count[filled[next++]];
    while (next < fills && value[filled[next]] - value[filled[next - 1]] <= tolerance);
    const double tied = table.mean(rank, end);
    for (size_t k = f; k < next; k++) mean[filled[k]] = tied;
    rank = end;
  }
  for (size_t i = 0; i < n; i++) out[i] = mean[bucket[i]];
  return true;
}

void sorted_segment(const double* x, size_t n, double tolerance, const Table& table, double* out) {
  double low, high;
  range_of(x, n, low, high);
  if (few_values(x, n, low, high, tolerance, table, out)) return;
  Scratch scratch;
  const Items sorted = Items::take(scratch, n);
  __builtin_memcpy(sorted.value, x, n * sizeof(double));
  for (size_t i = 0; i < n; i++) sorted.at[i] = static_cast<uint32_t>(i);
  for (size_t i = 0; i < n && i < kFetched; i += 64 / sizeof(double)) __builtin_prefetch(out + i, 1);
  sort_between(sorted, n, low, high, 0);
  const double* value = sorted.value;
  // two infinities of one sign differ by NaN, which is not a distance: equal values are tied whatever they are
  const auto tied = [&](size_t k) __attribute__((always_inline)) {
    return (value[k] == value[k - 1]) | (value[k] - value[k - 1] <= tolerance);
  };
  int64_t ties = 0;
  for (size_t k = 1; k < n; k++) ties |= tied(k);
  if (!ties) {
    for (size_t k = 0; k < n; k++) out[sorted.at[k]] = table.single[k];
    return;
  }
  for (size_t b = 0, e = 1; b < n; b = e++) {
    while (e < n && tied(e)) e++;
    const double mean = e - b == 1 ? table.single[b] : table.mean(b, e);
    for (size_t k = b; k < e; k++) out[sorted.at[k]] = mean;
  }
}

/** One segment of any size after another; a table that is not kept for all is kept for the next. */
class AnySegment {
 public:
  G2_INLINE void operator()(const double* x, size_t n, double tolerance, double* out) {
    if (n <= 1) {
      if (n) out[0] = 0;
    } else if (n <= kCounted && tolerance == 0) {
      counted_segment(x, n, table_of(n), out);
    } else if (n <= kKept) {
      sorted_segment(x, n, tolerance, table_of(n), out);
    } else {
      if (large_.n != n) {
        if (n > room_) memory_ = scratch_.take<double>(Table::doubles(room_ = n));
        large_.build(n, memory_);
      }
      sorted_segment(x, n, tolerance, large_, out);
    }
  }

 private:
  Scratch scratch_;
  Table large_{};
  size_t room_ = 0;
  double* memory_ = nullptr;
};

}  // namespace

KERNEL(cpu, GaussianAdvantage) {
  const size_t segments = op.segmentStarts.size - 1;
  const double* x = op.rewards.data;
  double* out = op.advantages.data;
  const int32_t* starts = op.segmentStarts.data;
  const size_t n = op.rewards.size;
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[segments]) == n;
  int32_t falls = 0;
  for (size_t s = 0; s < segments; s++) falls |= starts[s] > starts[s + 1];
  rising = rising && !falls;
  if (!rising)
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: segmentStarts must rise from 0 to the number of rewards");
  if (!(op.tieTolerance >= 0))
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: tieTolerance must be at least 0");

  parallel_for(stream, (segments + kChunk - 1) / kChunk, [&](size_t c) {
    const size_t first = c * kChunk, last = first + kChunk < segments ? first + kChunk : segments;
    const auto clean = [&] {
      const bool nan = holds_nan(x + starts[first], static_cast<size_t>(starts[last] - starts[first]));
      if (nan) fail(stream, "NON_FINITE", "gaussian_advantage: rewards holds NaN, which has no rank");
      return !nan;
    };
    AnySegment any_segment;
    const auto any = [&](int32_t at, size_t size) { any_segment(x + at, size, op.tieTolerance, out + at); };
#if defined(__AVX512BW__)
    const BySize by_size(starts + first, last - first);
    if ((by_size.count(1) || by_size.large()) && !clean()) return;
    if (!SmallSegments(x, op.tieTolerance, out, clean, any).all_from<1>(by_size) || !by_size.large()) return;
    constexpr size_t done = kDirect;  // segments up to this size are
#else
    if (!clean()) return;
    constexpr size_t done = 0;
#endif
    for (size_t s = first; s < last; s++)
      if (const size_t size = static_cast<size_t>(starts[s + 1] - starts[s]); size > done) any(starts[s], size);
  });
}

}  // namespace g2rpo
