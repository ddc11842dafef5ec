// Rows that move by index: the checks of indices, and additions whose order does not depend on threads. For hot files only.
#pragma once
#include "../../core/arena.h"
#include "../../core/checks.h"
#include "lanes.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Whether all indices are in [lowest, count); if not, the first bad one is the kernel's failure. */
G2_INLINE bool rows_in_range(Stream& stream, const char* kernel, const char* name, View<const int32_t> rows, size_t count,
                             int32_t lowest = 0) {
  for (size_t k = 0; k < rows.size; k++) {
    if (rows[k] >= lowest && (rows[k] < 0 || static_cast<size_t>(rows[k]) < count)) continue;
    fail(stream, "INVALID_ARGUMENT", IndexMessage(kernel, name, k, lowest, count, rows[k]).text);
    return false;
  }
  return true;
}

template <class T, class W> G2_INLINE void copy_row(T* to, const W* from, size_t width) {
  for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { at.store(to + i, at.load(from + i)); });
}
template <class T> G2_INLINE void add_row(T* to, const T* from, size_t width) {
  for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { at.store(to + i, at.load(to + i) + at.load(from + i)); });
}

/**
 * add(k) for k = 0…count−1, where to(k) is the row that it changes, or −1 for none. For one row the order is that of k: every
 * row belongs to one work item, which takes its share of all k in their order.
 */
template <class To, class Add> G2_INLINE void in_order_per_row(Stream& stream, size_t count, size_t width, To&& to, Add&& add) {
  if (count * width < kBlock) {
    for (size_t k = 0; k < count; k++)
      if (to(k) >= 0) add(k);
    return;
  }
  constexpr size_t items = 16;
  const auto item_of = [&](size_t k) { return static_cast<uint32_t>(to(k)) % items; };
  size_t starts[items + 1] = {}, at[items];
  for (size_t k = 0; k < count; k++)
    if (to(k) >= 0) starts[item_of(k) + 1]++;
  for (size_t i = 0; i < items; i++) at[i] = starts[i + 1] += starts[i];
  Scratch scratch;
  uint32_t* list = scratch.take<uint32_t>(starts[items]);
  for (size_t k = count; k-- > 0;)
    if (to(k) >= 0) list[--at[item_of(k)]] = static_cast<uint32_t>(k);
  parallel_for(stream, items, [&](size_t item) {
    for (size_t i = starts[item]; i < starts[item + 1]; i++) add(list[i]);
  });
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
