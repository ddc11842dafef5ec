// How kernels over lists of tensors walk: blocks of a fixed size of all tensors, on all threads at once. For hot files only.
#pragma once
#include "../../core/arena.h"
#include "../../core/checks.h"
#include "lanes.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** The blocks of a list's tensors, counted through: no block reaches into two tensors. */
struct ListBlocks {
  const RawView* items;
  size_t count, block;
  size_t* first;  // [count + 1]: the first block of each tensor

  G2_INLINE ListBlocks(const RawView* items, size_t count, size_t block, Scratch& scratch)
      : items(items), count(count), block(block), first(scratch.take<size_t>(count + 1)) {
    first[0] = 0;
    for (size_t i = 0; i < count; i++) first[i + 1] = first[i] + (items[i].size + block - 1) / block;
  }
  G2_INLINE size_t total() const { return first[count]; }

  /** body(tensor, begin, end, block) for every block. */
  template <class F> G2_INLINE void each(Stream& stream, F&& body) const {
    parallel_for(stream, total(), [&](size_t b) {
      size_t low = 0, high = count;  // first[low] <= b < first[high]
      while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        (first[middle] <= b ? low : high) = middle;
      }
      const size_t begin = (b - first[low]) * block, size = items[low].size;
      body(low, begin, begin + block < size ? begin + block : size, b);
    });
  }
};

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
