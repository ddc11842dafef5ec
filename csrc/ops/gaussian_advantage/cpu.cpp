// hot
// Ranks by counting for small segments and by radix sort for large ones; the quantiles come from a table per segment size.
#include "../../backends/cpu/simd.h"
#include "../../core/arena.h"
#include "../normal_quantile/op.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kDirect = 32;    // up to this size every block of ranks has its own entry in the table
constexpr size_t kCounted = 192;  // up to this size ranks are counted rather than sorted; they fit a byte
constexpr size_t kChunk = 64;     // segments per item of the pool

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

  static size_t doubles(size_t n) { return 2 * (n / 2 + 1) + (n <= kDirect ? n * (n + 1) : 0); }

  /** In memory for `doubles(size)` of them. */
  void build(size_t size, double* memory) {
    n = size;
    const size_t half = n / 2;
    high = memory;
    low = high + half + 1;
    high[0] = low[0] = 0;
    for (size_t r = 0; r < half; r++) {
      const double q = normal_quantile((static_cast<double>(r) + 0.5) / static_cast<double>(n));
      const double s = high[r] + q, t = s - high[r];
      high[r + 1] = s;
      low[r + 1] = low[r] + ((high[r] - (s - t)) + (q - t));
    }
    direct = n <= kDirect ? low + half + 1 : nullptr;
    if (!direct) return;
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

/** Tables of the sizes that are counted, built on first use and kept. */
const Table& table_of(size_t n) {
  static const Table* kept[kCounted + 1];
  const Table* table = __atomic_load_n(&kept[n], __ATOMIC_ACQUIRE);
  if (table) return *table;
  constexpr size_t kHead = (sizeof(Table) + 63) / 64 * 64;
  const size_t bytes = kHead + Table::doubles(n) * sizeof(double);
  char* memory = static_cast<char*>(allocate(bytes));
  Table* made = reinterpret_cast<Table*>(memory);
  made->build(n, reinterpret_cast<double*>(memory + kHead));
  if (__atomic_compare_exchange_n(&kept[n], &table, static_cast<const Table*>(made), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return *made;
  deallocate(memory, bytes);  // another thread was faster
  return *table;
}

/** For every element, how many are smaller and how many are smaller or equal. */
void count_ranks(const double* x, size_t n, uint8_t* less, uint8_t* less_or_equal) {
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
}

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

#if defined(__AVX512F__)
/**
 * A segment of at most Most elements, in as many registers as it needs; every element in turn is compared with all. Lanes behind the
 * last are NaN, which is above and below nothing, so that no step depends on the size.
 */
template <int Most> G2_INLINE void small_segment(const double* x, size_t n, const double* table, double* out) {
  constexpr int V = (Most + 7) / 8;
  const __m512d nan = _mm512_set1_pd(__builtin_nan(""));
  const __m512i step = _mm512_set1_epi64(static_cast<long long>(n) + 1);
  alignas(64) double each[8 * V];
  __mmask8 valid[V];
  __m512d all[V];
  __m512i at[V];  // in the table: smaller·(n + 1) + n − larger
#pragma GCC unroll 2
  for (int v = 0; v < V; v++) {
    valid[v] = static_cast<__mmask8>(((1u << n) - 1) >> (8 * v));
    all[v] = _mm512_mask_loadu_pd(nan, valid[v], x + 8 * v);
    at[v] = _mm512_set1_epi64(static_cast<long long>(n));
    _mm512_store_pd(each + 8 * v, all[v]);
  }
  asm("" : "+m"(each));  // from here each is read as memory: shuffles would wait for the comparisons
#pragma GCC unroll 16
  for (int j = 0; j < Most; j++) {
    const __m512d own = _mm512_set1_pd(each[j]);
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      at[v] = _mm512_mask_add_epi64(at[v], _mm512_cmp_pd_mask(all[v], own, _CMP_GT_OQ), at[v], step);
      at[v] = _mm512_mask_sub_epi64(at[v], _mm512_cmp_pd_mask(all[v], own, _CMP_LT_OQ), at[v], _mm512_set1_epi64(1));
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < V; v++) {
    _mm512_mask_storeu_pd(out + 8 * v, valid[v], _mm512_mask_i64gather_pd(nan, valid[v], at[v], table, 8));
  }
}

/**
 * All segments but those of more than 16 elements: `rest` receives the indices of these, their number is returned. x and out begin
 * with the first segment.
 */
size_t small_segments(const double* x, const int32_t* starts, size_t segments, double* out, uint16_t* rest) {
  int32_t most = 0;
  for (size_t s = 0; s < segments; s++) most = starts[s + 1] - starts[s] > most ? starts[s + 1] - starts[s] : most;
  const double* tables[17] = {};
  for (int32_t n = 1; n <= most && n <= 16; n++) tables[n] = table_of(static_cast<size_t>(n)).direct;
  size_t others = 0;
  for (size_t s = 0; s < segments; s++) {
    const size_t at = static_cast<size_t>(starts[s] - starts[0]), n = static_cast<size_t>(starts[s + 1] - starts[s]);
    if (n <= 8) small_segment<8>(x + at, n, tables[n], out + at);
    else if (n <= 12) small_segment<12>(x + at, n, tables[n], out + at);
    else if (n <= 16) small_segment<16>(x + at, n, tables[n], out + at);
    else rest[others++] = static_cast<uint16_t>(s);
  }
  return others;
}
#endif

/** Whether there is a NaN; copies the values, if wanted. */
template <bool Copy> bool holds_nan(const double* x, size_t n, double* to) {
  constexpr size_t w = simd::lanes<double>;
  simd::Mask<double> found{};
  size_t i = 0;
  for (; i + w <= n; i += w) {
    const auto v = simd::load<double>(x + i);
    found |= v != v;
    if constexpr (Copy) simd::store(to + i, v);
  }
  bool any = false;
  for (size_t k = 0; k < w; k++) any |= found[k] != 0;
  for (; i < n; i++) {
    any |= x[i] != x[i];
    if constexpr (Copy) to[i] = x[i];
  }
  return any;
}

/**
 * Rewards and advantages usually lie at the same offset within their pages, and a processor takes a load behind a store to the same
 * offset for one that must wait. So the rewards of a chunk of small segments are copied to where offsets differ.
 */
struct Copied {
  static constexpr size_t kMost = 16 * kChunk;
  alignas(64) double memory[kMost + 4096 / sizeof(double)];
  double* apart_from(const double* out) {
    const size_t offset = (reinterpret_cast<size_t>(out) + 2048 - reinterpret_cast<size_t>(memory)) % 4096;
    return memory + offset / sizeof(double);
  }
};

/** One segment of any size. */
void segment_of_any(const double* x, size_t n, double tolerance, double* out) {
  if (n <= 1) {
    if (n) out[0] = 0;
  } else if (n > kCounted) {
    Scratch scratch;
    Table table;
    table.build(n, scratch.take<double>(Table::doubles(n)));
    sorted_segment(x, n, tolerance, table, out);
  } else if (tolerance > 0) {
    sorted_segment(x, n, tolerance, table_of(n), out);
  } else {
    uint8_t less[kCounted], less_or_equal[kCounted];
    count_ranks(x, n, less, less_or_equal);
    const Table& table = table_of(n);
    for (size_t i = 0; i < n; i++)
      out[i] = table.direct ? table.direct[less[i] * (n + 1) + less_or_equal[i]] : table.mean(less[i], less_or_equal[i]);
  }
}

}  // namespace

KERNEL(cpu, GaussianAdvantage) {
  const size_t segments = op.segmentStarts.size - 1;
  const double* x = op.rewards.data;
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
    const size_t last = (c + 1) * kChunk < segments ? (c + 1) * kChunk : segments;
    const size_t first_reward = static_cast<size_t>(starts[c * kChunk]), end_reward = static_cast<size_t>(starts[last]);
    double* const out = op.advantages.data + first_reward;
    const size_t first = c * kChunk, count = end_reward - first_reward;
    const double* own = x + first_reward;
    Copied copied;
    bool ordered;
    if (count <= Copied::kMost) {
      double* copy = copied.apart_from(out);
      ordered = !holds_nan<true>(own, count, copy);
      own = copy;
    } else {
      ordered = !holds_nan<false>(own, count, nullptr);
    }
    if (!ordered) return fail(stream, "NON_FINITE", "gaussian_advantage: rewards holds NaN, which has no rank");
#if defined(__AVX512F__)
    if (op.tieTolerance == 0) {
      uint16_t rest[kChunk];
      const size_t others = small_segments(own, starts + first, last - first, out, rest);
      for (size_t i = 0; i < others; i++) {
        const size_t at = static_cast<size_t>(starts[first + rest[i]]), end = static_cast<size_t>(starts[first + rest[i] + 1]);
        segment_of_any(own + (at - first_reward), end - at, 0, out + (at - first_reward));
      }
      return;
    }
#endif
    for (size_t s = first; s < last; s++) {
      const size_t at = static_cast<size_t>(starts[s]), end = static_cast<size_t>(starts[s + 1]);
      segment_of_any(own + (at - first_reward), end - at, op.tieTolerance, out + (at - first_reward));
    }
  });
}

}  // namespace g2rpo
