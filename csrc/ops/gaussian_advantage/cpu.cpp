// hot
// Ranks by counting for small segments and by radix sort for large ones; the quantiles come from a table per segment size.
#include "../../backends/cpu/simd.h"
#include "../../core/arena.h"
#include "../normal_quantile/op.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kDirect = 32;   // up to this size every block of ranks has its own entry in the table
constexpr size_t kCounted = 64;  // up to this size ranks are counted rather than sorted
constexpr size_t kChunk = 64;    // segments per item of the pool

/**
 * mean(b, e): the mean quantile of ranks b…e−1 (0-based) of n. Only the lower half is computed; a block's part that has
 * its mirror image in the block cancels before anything is summed, so that a symmetric block is exactly 0 and
 * mean(b, e) is exactly −mean(n−e, n−b). Prefix sums are kept in two parts, as exact as if summed in twice the precision.
 */
struct Table {
  size_t n;
  double* high;
  double* low;
  double* direct;

  void build(size_t size, Scratch& scratch) {
    n = size;
    const size_t half = n / 2;
    high = scratch.take<double>(half + 1);
    low = scratch.take<double>(half + 1);
    high[0] = low[0] = 0;
    for (size_t r = 0; r < half; r++) {
      const double q = normal_quantile((static_cast<double>(r) + 0.5) / static_cast<double>(n));
      const double s = high[r] + q, t = s - high[r];
      high[r + 1] = s;
      low[r + 1] = low[r] + ((high[r] - (s - t)) + (q - t));
    }
    direct = nullptr;
    if (n > kDirect) return;
    direct = scratch.take<double>(n * (n + 1));
    for (size_t b = 0; b < n; b++)
      for (size_t e = 0; e <= n; e++) direct[b * (n + 1) + e] = e > b ? mean(b, e) : 0;
  }

  double lower(size_t b, size_t e) const { return (high[e] - high[b]) + (low[e] - low[b]); }

  double mean(size_t b, size_t e) const {
    const size_t mb = n - e, me = n - b;  // the mirror image
    const double count = static_cast<double>(e - b);
    if (b < mb) return lower(b, mb < e ? mb : e) / count;
    if (b > mb) return -lower(mb, me < b ? me : b) / count;
    return 0;
  }
};

/** For every element, how many are smaller and how many are smaller or equal. */
void count_ranks(const double* x, size_t n, uint8_t* less, uint8_t* less_or_equal) {
#if defined(__AVX512F__)
  for (size_t i = 0; i < n; i++) less[i] = less_or_equal[i] = 0;
  for (size_t j = 0; j < n; j += 8) {
    const size_t m = n - j < 8 ? n - j : 8;
    const __mmask8 valid = static_cast<__mmask8>((1u << m) - 1);
    const __m512d others = _mm512_maskz_loadu_pd(valid, x + j);
    for (size_t i = 0; i < n; i++) {
      const __m512d own = _mm512_set1_pd(x[i]);
      less[i] += static_cast<uint8_t>(__builtin_popcount(_mm512_mask_cmp_pd_mask(valid, others, own, _CMP_LT_OQ)));
      less_or_equal[i] += static_cast<uint8_t>(__builtin_popcount(_mm512_mask_cmp_pd_mask(valid, others, own, _CMP_LE_OQ)));
    }
  }
#else
  constexpr size_t w = simd::lanes<double>;
  for (size_t i = 0; i < n; i += w) {
    const size_t m = n - i < w ? n - i : w;
    const auto own = simd::load_n<double>(x + i, m);
    simd::Mask<double> lt{}, le{};
    for (size_t j = 0; j < n; j++) {
      const auto other = simd::splat<double>(x[j]);
      lt -= other < own;
      le -= other <= own;
    }
    for (size_t k = 0; k < m; k++) {
      less[i + k] = static_cast<uint8_t>(lt[k]);
      less_or_equal[i + k] = static_cast<uint8_t>(le[k]);
    }
  }
#endif
}

#if defined(__AVX512F__)
/** Segments of at most 8: one register holds them, and one look-up per element is all that is left. */
G2_INLINE void small_segment(const double* x, size_t n, const Table& table, double* out) {
  const __mmask8 valid = static_cast<__mmask8>((1u << n) - 1);
  const __m512d all = _mm512_maskz_loadu_pd(valid, x);
  for (size_t i = 0; i < n; i++) {
    const __m512d own = _mm512_set1_pd(x[i]);
    const unsigned lt = static_cast<unsigned>(__builtin_popcount(_mm512_mask_cmp_pd_mask(valid, all, own, _CMP_LT_OQ)));
    const unsigned le = static_cast<unsigned>(__builtin_popcount(_mm512_mask_cmp_pd_mask(valid, all, own, _CMP_LE_OQ)));
    out[i] = table.direct[lt * (n + 1) + le];
  }
}
#endif

/** The order of the values as unsigned integers; −0 counts as +0. */
G2_INLINE uint64_t ordered_bits(double x) {
  x += 0.0;
  uint64_t u;
  __builtin_memcpy(&u, &x, 8);
  return u >> 63 ? ~u : u | (uint64_t{1} << 63);
}

/** order[k] is the element of rank k; stable. Eleven bits a pass; a pass in which all digits agree is skipped. */
void sort_order(const double* x, size_t n, uint32_t* order, Scratch& scratch) {
  if (n <= kCounted) {
    uint8_t less[kCounted], less_or_equal[kCounted], used[kCounted] = {};
    count_ranks(x, n, less, less_or_equal);
    for (size_t i = 0; i < n; i++) order[less[i] + used[less[i]]++] = static_cast<uint32_t>(i);
    return;
  }
  constexpr int kBits = 11, kPasses = 6;
  struct Item {
    uint64_t key;
    uint32_t at;
  };
  Item* from = scratch.take<Item>(n);
  Item* to = scratch.take<Item>(n);
  uint32_t(*histogram)[1 << kBits] = reinterpret_cast<uint32_t(*)[1 << kBits]>(scratch.take<uint32_t>(kPasses << kBits));
  __builtin_memset(histogram, 0, sizeof(uint32_t) * kPasses << kBits);
  for (size_t i = 0; i < n; i++) {
    from[i] = {ordered_bits(x[i]), static_cast<uint32_t>(i)};
    for (int p = 0; p < kPasses; p++) histogram[p][(from[i].key >> (p * kBits)) & ((1 << kBits) - 1)]++;
  }
  for (int p = 0; p < kPasses; p++) {
    uint32_t* h = histogram[p];
    if (h[(from[0].key >> (p * kBits)) & ((1 << kBits) - 1)] == n) continue;
    uint32_t sum = 0;
    for (int d = 0; d < 1 << kBits; d++) {
      const uint32_t c = h[d];
      h[d] = sum;
      sum += c;
    }
    for (size_t i = 0; i < n; i++) to[h[(from[i].key >> (p * kBits)) & ((1 << kBits) - 1)]++] = from[i];
    Item* swap = from;
    from = to;
    to = swap;
  }
  for (size_t i = 0; i < n; i++) order[i] = from[i].at;
}

void sorted_segment(const double* x, size_t n, double tolerance, const Table& table, double* out) {
  Scratch scratch;
  uint32_t* order = scratch.take<uint32_t>(n);
  sort_order(x, n, order, scratch);
  for (size_t b = 0; b < n;) {
    size_t e = b + 1;
    // two infinities of one sign differ by NaN, which is not a distance: equal values are tied whatever they are
    while (e < n && (x[order[e]] == x[order[e - 1]] || x[order[e]] - x[order[e - 1]] <= tolerance)) e++;
    const double mean = table.mean(b, e);
    for (size_t k = b; k < e; k++) out[order[k]] = mean;
    b = e;
  }
}

}  // namespace

KERNEL(cpu, GaussianAdvantage) {
  const size_t segments = op.segmentStarts.size - 1;
  const double* x = op.rewards.data;
  const int32_t* starts = op.segmentStarts.data;
  const size_t n = op.rewards.size;
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[segments]) == n;
  for (size_t s = 0; s < segments && rising; s++) {
    rising = starts[s] <= starts[s + 1];
  }
  if (!rising)
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: segmentStarts must rise from 0 to the number of rewards");
  if (!(op.tieTolerance >= 0))
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: tieTolerance must be at least 0");

  // tables of the small sizes that occur, shared by all segments
  Scratch scratch;
  Table* tables = scratch.take<Table>(kCounted + 1);
  bool* present = scratch.take<bool>(kCounted + 1);
  for (size_t k = 0; k <= kCounted; k++) present[k] = false;
  for (size_t s = 0; s < segments; s++) {
    const size_t size = static_cast<size_t>(starts[s + 1] - starts[s]);
    if (size > kCounted || present[size]) continue;
    present[size] = true;
    tables[size].build(size, scratch);
  }

  parallel_for(stream, (segments + kChunk - 1) / kChunk, [&](size_t c) {
    const size_t last = (c + 1) * kChunk < segments ? (c + 1) * kChunk : segments;
    const size_t first_reward = static_cast<size_t>(starts[c * kChunk]), end_reward = static_cast<size_t>(starts[last]);
    bool ordered = true;
    for (size_t i = first_reward; i < end_reward; i++) ordered &= x[i] == x[i];
    if (!ordered) return fail(stream, "NON_FINITE", "gaussian_advantage: rewards holds NaN, which has no rank");
    for (size_t s = c * kChunk; s < last; s++) {
      const size_t at = static_cast<size_t>(starts[s]), size = static_cast<size_t>(starts[s + 1]) - at;
      double* out = op.advantages.data + at;
      if (size <= 1) {
        if (size) out[0] = 0;
      } else if (size > kCounted) {
        Scratch own;
        Table table;
        table.build(size, own);
        sorted_segment(x + at, size, op.tieTolerance, table, out);
      } else if (op.tieTolerance > 0) {
        sorted_segment(x + at, size, op.tieTolerance, tables[size], out);
#if defined(__AVX512F__)
      } else if (size <= 8) {
        small_segment(x + at, size, tables[size], out);
#endif
      } else {
        uint8_t less[kCounted], less_or_equal[kCounted];
        count_ranks(x + at, size, less, less_or_equal);
        const Table& table = tables[size];
        for (size_t i = 0; i < size; i++)
          out[i] = table.direct ? table.direct[less[i] * (size + 1) + less_or_equal[i]] : table.mean(less[i], less_or_equal[i]);
      }
    }
  });
}

}  // namespace g2rpo
