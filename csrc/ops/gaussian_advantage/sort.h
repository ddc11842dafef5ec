// Rewards in rising order. For hot files.
#pragma once
#include "../../backends/cpu/simd.h"
#include "../../core/arena.h"
#include "table.h"

namespace g2rpo {

namespace {

G2_INLINE bool holds_nan(const double* x, size_t n) {
  constexpr size_t w = simd::lanes<double>;
  simd::Mask<double> found{};
  size_t i = 0;
  for (; i + w <= n; i += w) {
    const auto v = simd::load<double>(x + i);
    found |= v != v;
  }
  const auto v = simd::load_n<double>(x + i, n - i);
  found |= v != v;
  bool any = false;
  for (size_t k = 0; k < w; k++) any |= found[k] != 0;
  return any;
}

/** One more in the lanes where a < b. */
G2_INLINE simd::Mask<double> count_where_less(simd::Mask<double> count, simd::Vec<double> a, simd::Vec<double> b) {
#if defined(__AVX512F__)
  const __mmask8 where = _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ);
  return (simd::Mask<double>)_mm512_mask_sub_epi64((__m512i)count, where, (__m512i)count, (__m512i)(simd::Mask<double>{} - 1));
#else
  return count - (a < b);
#endif
}

/**
 * less[i]: how many of at most kCounted values are smaller than x[i]. Room for kCounted of them; returns their sum, which is
 * n·(n − 1)/2 only if no two values are equal.
 */
template <int V> G2_INLINE simd::Mask<double> count_less_than(const double* x, size_t n, size_t i, int64_t* less) {
  constexpr size_t w = simd::lanes<double>;
  simd::Vec<double> own[V];
  simd::Mask<double> count[V] = {}, sum{};
#pragma GCC unroll 4
  for (int v = 0; v < V; v++)
    own[v] = simd::load_n<double>(x + i + v * w, n - i < (v + 1) * w ? n - i - v * w : w, -__builtin_inf());
  for (size_t j = 0; j < n; j++) {
    const auto other = simd::splat<double>(x[j]);
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) count[v] = count_where_less(count[v], other, own[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; v++) {
    __builtin_memcpy(less + i + v * w, &count[v], sizeof count[v]);
    sum += count[v];
  }
  return sum;
}
size_t count_less(const double* x, size_t n, int64_t* less) {
  constexpr size_t w = simd::lanes<double>;
  simd::Mask<double> sum{};
  for (size_t i = 0; i < n; i += 4 * w) {
    if (n - i > 3 * w) sum += count_less_than<4>(x, n, i, less);
    else if (n - i > 2 * w) sum += count_less_than<3>(x, n, i, less);
    else if (n - i > w) sum += count_less_than<2>(x, n, i, less);
    else sum += count_less_than<1>(x, n, i, less);
  }
  return static_cast<size_t>(simd::fold<int64_t>(sum, [](auto a, auto b) __attribute__((always_inline)) { return a + b; }));
}

/** Values and where they stood. */
struct Items {
  double* value;
  uint32_t* at;
  static Items take(Scratch& scratch, size_t n, size_t margin = 0) {
    return {scratch.take<double>(n + 2 * margin) + margin, scratch.take<uint32_t>(n)};
  }
  Items from(size_t i) const { return {value + i, at + i}; }
};

/** The order of the values as unsigned integers; −0 counts as +0. */
G2_INLINE uint64_t ordered_bits(double x) {
  x += 0.0;
  uint64_t u;
  __builtin_memcpy(&u, &x, 8);
  return u >> 63 ? ~u : u | (uint64_t{1} << 63);
}

/** Whatever the values are. Eleven bits a pass; a pass in which all digits agree is skipped. */
void sort_by_digits(const Items& items, size_t n) {
  constexpr int kBits = 11, kPasses = 6, kDigits = 1 << kBits;
  const auto digit = [](double x, int p) __attribute__((always_inline)) { return ordered_bits(x) >> (p * kBits) & (kDigits - 1); };
  Scratch scratch;
  Items from = items, to = Items::take(scratch, n);
  uint32_t* histogram = scratch.take<uint32_t>(kPasses * kDigits);
  __builtin_memset(histogram, 0, sizeof(uint32_t) * kPasses * kDigits);
  for (size_t i = 0; i < n; i++)
    for (int p = 0; p < kPasses; p++) histogram[p * kDigits + digit(from.value[i], p)]++;
  for (int p = 0; p < kPasses; p++) {
    uint32_t* h = histogram + p * kDigits;
    if (h[digit(from.value[0], p)] == n) continue;
    uint32_t sum = 0;
    for (int d = 0; d < kDigits; d++) {
      const uint32_t c = h[d];
      h[d] = sum;
      sum += c;
    }
    for (size_t i = 0; i < n; i++) {
      const uint32_t k = h[digit(from.value[i], p)]++;
      to.value[k] = from.value[i];
      to.at[k] = from.at[i];
    }
    const Items swap = from;
    from = to;
    to = swap;
  }
  if (from.value == items.value) return;
  __builtin_memcpy(items.value, from.value, n * sizeof(double));
  __builtin_memcpy(items.at, from.at, n * sizeof(uint32_t));
}

/** By counting, for at most kCounted. */
void sort_few(const Items& items, size_t n) {
  int64_t less[kCounted];
  uint8_t used[kCounted];
  double value[kCounted];
  uint32_t at[kCounted];
  count_less(items.value, n, less);
  __builtin_memset(used, 0, n);
  __builtin_memcpy(value, items.value, n * sizeof(double));
  __builtin_memcpy(at, items.at, n * sizeof(uint32_t));
  for (size_t i = 0; i < n; i++) {
    const size_t rank = static_cast<size_t>(less[i]) + used[less[i]]++;
    items.value[rank] = value[i];
    items.at[rank] = at[i];
  }
}

/** Two, without a branch that nobody could foresee. */
G2_INLINE void sort_two(const Items& items) {
  const double a = items.value[0], b = items.value[1];
  const uint32_t at_a = items.at[0], at_b = items.at[1];
  const bool swap = b < a;
  items.value[0] = swap ? b : a;
  items.value[1] = swap ? a : b;
  items.at[0] = swap ? at_b : at_a;
  items.at[1] = swap ? at_a : at_b;
}

/** The smallest and the largest of n ≥ 1. */
G2_INLINE void range_of(const double* x, size_t n, double& low, double& high) {
  constexpr size_t w = simd::lanes<double>;
  auto lows = simd::splat<double>(x[0]), highs = lows;
  size_t i = 0;
  for (; i + w <= n; i += w) {
    const auto v = simd::load<double>(x + i);
    lows = simd::min(lows, v);
    highs = simd::max(highs, v);
  }
  const auto v = simd::load_n<double>(x + i, n - i, x[0]);
  high = simd::largest<double>(simd::max(highs, v));
  low = -simd::largest<double>(-simd::min(lows, v));
}

/** (x − low)·scale, rounded down; room for a vector more than n. */
G2_INLINE void find_buckets(const double* x, size_t n, double low, double scale, int32_t* bucket) {
  constexpr size_t w = simd::lanes<double>;
  typedef int32_t Indices __attribute__((vector_size(4 * w), aligned(4), may_alias));
  for (size_t i = 0; i < n; i += w) {
    const auto v = i + w <= n ? simd::load<double>(x + i) : simd::load_n<double>(x + i, n - i, low);
    *reinterpret_cast<Indices*>(bucket + i) = __builtin_convertvector((v - low) * scale, Indices);
  }
}

/**
 * Puts values into buckets by where they lie between the smallest and the largest, low and high: (x − low)·scale rises with x even when
 * rounded, so that buckets are in order whatever the values are. Buckets in which they crowd are sorted in the same manner, each
 * within its own range; where hardly anything is won, digits are sorted.
 */
void sort_between(const Items& items, size_t n, double low, double high, int depth) {
  constexpr size_t w = simd::lanes<double>;
  constexpr size_t kMostBuckets = 4096, kNear = 16;
  constexpr double kInfinity = __builtin_inf();
  if (low == high) return;
  if (n <= kCounted / 2) return sort_few(items, n);
  size_t buckets = 128;
  while (buckets < n && buckets < kMostBuckets) buckets *= 2;
  const double scale = static_cast<double>(buckets - 1) / (high - low);
  if (depth > 4 || !(high - low < kInfinity && scale < kInfinity)) return sort_by_digits(items, n);

  Scratch scratch;
  int32_t* bucket = scratch.take<int32_t>(n + w);
  uint32_t* end = scratch.take<uint32_t>(buckets);
  __builtin_memset(end, 0, buckets * sizeof(uint32_t));
  find_buckets(items.value, n, low, scale, bucket);
  for (size_t i = 0; i < n; i++) end[bucket[i]]++;
  uint32_t sum = 0, largest = 0;
  for (size_t b = 0; b < buckets; b++) {
    const uint32_t c = end[b];
    end[b] = sum;
    sum += c;
    largest = c > largest ? c : largest;
  }
  if (largest > n - n / 4) return sort_by_digits(items, n);
  const Items to = Items::take(scratch, n, kNear + w);
  for (size_t i = 0; i < n; i++) {
    const uint32_t k = end[bucket[i]]++;
    to.value[k] = items.value[i];
    to.at[k] = items.at[i];
  }
  if (largest > kNear) {
    uint32_t* begin = scratch.take<uint32_t>(buckets);  // of buckets with more than one
    uint32_t* size = scratch.take<uint32_t>(buckets);
    size_t several = 0;
    for (size_t b = 0, k = 0; b < buckets; k = end[b++]) {
      begin[several] = static_cast<uint32_t>(k);
      size[several] = end[b] - static_cast<uint32_t>(k);
      several += size[several] > 1;
    }
    for (size_t i = 0; i < several; i++) {
      const Items crowd = to.from(begin[i]);
      if (size[i] == 2) {
        sort_two(crowd);
        continue;
      }
      range_of(crowd.value, size[i], low, high);
      sort_between(crowd, size[i], low, high, depth + 1);
    }
    __builtin_memcpy(items.value, to.value, n * sizeof(double));
    __builtin_memcpy(items.at, to.at, n * sizeof(uint32_t));
    return;
  }
  // nothing is further than a bucket's size from where it belongs: count who stands on the wrong side nearby
  for (size_t k = 1; k <= kNear + w; k++) {
    to.value[-static_cast<ptrdiff_t>(k)] = -kInfinity;
    to.value[n + k - 1] = kInfinity;
  }
  for (size_t k = 0; k < n; k += w) {
    const auto own = simd::load<double>(to.value + k);
    simd::Mask<double> up{}, down{};
    for (size_t d = 1; d < largest; d++) {
      up = count_where_less(up, simd::load<double>(to.value + k + d), own);
      down = count_where_less(down, own, simd::load<double>(to.value + k - d));
    }
    const auto moves = up - down;
    for (size_t l = 0; l < w && k + l < n; l++) {
      const size_t rank = k + l + static_cast<size_t>(moves[l]);
      items.value[rank] = to.value[k + l];
      items.at[rank] = to.at[k + l];
    }
  }
}

}  // namespace

}  // namespace g2rpo
