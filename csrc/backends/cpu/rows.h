// Rows that move by index: the checks of indices, and additions whose order does not depend on threads. For hot files only.
#pragma once
#include "../../core/tensor.h"
#include "lanes.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Whether all indices are in [lowest, count); if not, the first bad one is the kernel's failure. */
G2_INLINE bool rows_in_range(Stream& stream, const char* kernel, const char* name, View<const int32_t> rows, size_t count,
                             int32_t lowest = 0) {
  for (size_t k = 0; k < rows.size; k++) {
    if (rows[k] >= lowest && (rows[k] < 0 || static_cast<size_t>(rows[k]) < count)) continue;
    char message[160];
    __builtin_snprintf(message, sizeof message, "%s: %s[%zu] must be in [%d, %zu); got %d", kernel, name, k, lowest, count, rows[k]);
    fail(stream, "INVALID_ARGUMENT", message);
    return false;
  }
  return true;
}

template <class T> G2_INLINE void copy_row(T* to, const T* from, size_t width) {
  for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { at.store(to + i, at.load(from + i)); });
}
template <class T> G2_INLINE void add_row(T* to, const T* from, size_t width) {
  for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { at.store(to + i, at.load(to + i) + at.load(from + i)); });
}

/**
 * add(k) for k = 0…count−1, where to(k) is the row that it changes, or −1 for none. For one row the order is that of k: a
 * row belongs to one work item, and every item looks at all k.
 */
template <class To, class Add> G2_INLINE void in_order_per_row(Stream& stream, size_t count, size_t width, To&& to, Add&& add) {
  const uint32_t items = count * width < kBlock ? 1 : 16;
  parallel_for(stream, items, [&](size_t item) {
    for (size_t k = 0; k < count; k++) {
      const int32_t row = to(k);
      if (row >= 0 && static_cast<uint32_t>(row) % items == item) add(k);
    }
  });
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
