// The mean quantiles of blocks of ranks, for segments of one size. For hot files.
#pragma once
#include "../../core/arena.h"
#include "../normal_quantile/quantile.h"

namespace g2rpo {

namespace {

constexpr size_t kDirect = 16;    // up to this size every block of ranks has its own entry in a table
constexpr size_t kCounted = 128;  // up to this size ranks are counted rather than sorted; they fit a byte
constexpr size_t kKept = 192;     // up to this size tables are kept
constexpr size_t kChunk = 256;    // segments to an item of the pool

/**
 * mean(b, e): the mean quantile of ranks b…e−1 (0-based) of n. Only the lower half is computed; a block's part that has
 * its mirror image in the block cancels before anything is summed, so that a symmetric block is exactly 0 and
 * mean(b, e) is exactly −mean(n−e, n−b). Prefix sums are kept in two parts, as exact as if summed in twice the precision.
 */
struct Table {
  size_t n;
  double* high;
  double* low;
  double* single;  // mean(b, b + 1)
  double* direct;  // mean(b, e) at `place(b, e)`

  static size_t doubles(size_t n) { return 2 * (n / 2 + 1) + n + (n <= kDirect ? kDirect * kDirect : 0); }

  static size_t place(size_t b, size_t e) { return kDirect * b + (e - b - 1); }

  /** In memory for `doubles(size)` of them. */
  void build(size_t size, double* memory) {
    n = size;
    const size_t half = n / 2;
    high = memory;
    low = high + half + 1;
    single = low + half + 1;
    high[0] = low[0] = 0;
    for (size_t first = 0; first < half; first += kQuantiles) {
      double p[kQuantiles], q[kQuantiles];
      const size_t m = half - first < kQuantiles ? half - first : kQuantiles;
      for (size_t i = 0; i < m; i++) p[i] = (static_cast<double>(first + i) + 0.5) / static_cast<double>(n);
      quantiles_of(p, m, q);
      for (size_t r = first; r < first + m; r++) {
        const double s = high[r] + q[r - first], t = s - high[r];
        high[r + 1] = s;
        low[r + 1] = low[r] + ((high[r] - (s - t)) + (q[r - first] - t));
      }
    }
    for (size_t b = 0; b < half; b++) single[b] = lower(b, b + 1);
    if (n % 2) single[half] = 0;
    for (size_t b = 0; b < half; b++) single[n - 1 - b] = -single[b];
    direct = n <= kDirect ? single + n : nullptr;
    if (!direct) return;
    for (size_t i = 0; i < kDirect * kDirect; i++) direct[i] = 0;
    for (size_t b = 0; b < n; b++)
      for (size_t e = b + 1; e <= n; e++) direct[place(b, e)] = mean(b, e);
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

/** Of a size up to kKept, built on first use. */
const Table& table_of(size_t n) {
  static const Table* kept[kKept + 1];
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

}  // namespace

}  // namespace g2rpo
