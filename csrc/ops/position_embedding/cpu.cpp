// hot
#include "op.h"

#include "../../backends/cpu/rows.h"
#include "../../core/arena.h"
#include "../../core/grids.h"
#include "table_side.h"

namespace g2rpo {

namespace {
using namespace simd;

/** The four table rows around a patch and their shares. */
template <class T> struct Taps {
  int32_t row[4];
  T share[4];
};

/** Patch i of n on a table of side N: it lies between rows (or columns) `low` and `high`, `share` of the way to `high`. */
template <class T> struct Place {
  int32_t low, high;
  T share;
};
template <class T> G2_INLINE Place<T> place(int32_t i, int32_t n, int32_t side) {
  const T at = n > 1 ? static_cast<T>(i) * static_cast<T>(side - 1) / static_cast<T>(n - 1) : T(0);
  const int32_t low = static_cast<int32_t>(at) < side - 1 ? static_cast<int32_t>(at) : side - 1;
  return {low, low + 1 < side ? low + 1 : low, at - static_cast<T>(low)};
}

/** Of every patch, in merge order: block by block, and inside a block row by row. */
template <class T> G2_INLINE void find_taps(View<const int32_t> grids, int32_t merge, int32_t side, Taps<T>* taps) {
  for (size_t i = 0; i < grids.size / 3; i++) {
    const int32_t t = grids[3 * i], h = grids[3 * i + 1], w = grids[3 * i + 2];
    const Taps<T>* const frame = taps;
    for (int32_t block_row = 0; block_row < h; block_row += merge)
      for (int32_t block_column = 0; block_column < w; block_column += merge)
        for (int32_t r = block_row; r < block_row + merge; r++) {
          const Place<T> y = place<T>(r, h, side);
          for (int32_t c = block_column; c < block_column + merge; c++) {
            const Place<T> x = place<T>(c, w, side);
            *taps++ = {{y.low * side + x.low, y.low * side + x.high, y.high * side + x.low, y.high * side + x.high},
                       {(1 - y.share) * (1 - x.share), (1 - y.share) * x.share, y.share * (1 - x.share), y.share * x.share}};
          }
        }
    const size_t size = static_cast<size_t>(h) * static_cast<size_t>(w);
    for (int32_t k = 1; k < t; k++, taps += size) __builtin_memcpy(taps, frame, size * sizeof(Taps<T>));
  }
}

}  // namespace

KERNEL_REAL(cpu, PositionEmbedding) {
  const size_t patches = op.x.dim[0], width = op.x.dim[1];
  const int32_t side = table_side(stream, "position_embedding", op.table.dim[0]);
  if (!side || !grids_are_valid(stream, "position_embedding", op.grids, op.merge, patches) || width == 0) return;
  Scratch scratch;
  Taps<T>* taps = scratch.take<Taps<T>>(patches);
  find_taps(op.grids, op.merge, side, taps);
  for_blocks(stream, patches, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      const T* from[4];
      for (int k = 0; k < 4; k++) from[k] = op.table.data + static_cast<size_t>(taps[p].row[k]) * width;
      const T* share = taps[p].share;
      T* x = op.x.data + p * width;
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        Vec<T> v = at.load(from[0] + i) * splat(share[0]);
        for (int k = 1; k < 4; k++) v = fma(at.load(from[k] + i), splat(share[k]), v);
        at.store(x + i, at.load(x + i) + v);
      });
    }
  });
}

KERNEL_REAL(cpu, PositionEmbeddingBackward) {
  const size_t patches = op.dX.dim[0], width = op.dX.dim[1];
  const int32_t side = table_side(stream, "position_embedding_backward", op.dTable.dim[0]);
  if (!side || !grids_are_valid(stream, "position_embedding_backward", op.grids, op.merge, patches)) return;
  Scratch scratch;
  Taps<T>* taps = scratch.take<Taps<T>>(patches);
  find_taps(op.grids, op.merge, side, taps);
  in_order_per_row(
      stream, patches * 4, width, [&](size_t k) G2_INLINED { return taps[k / 4].row[k % 4]; },
      [&](size_t k) G2_INLINED {
        T* to = op.dTable.data + static_cast<size_t>(taps[k / 4].row[k % 4]) * width;
        const T* from = op.dX.data + k / 4 * width;
        const Vec<T> share = splat(taps[k / 4].share[k % 4]);
        for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { at.store(to + i, fma(at.load(from + i), share, at.load(to + i))); });
      });
}

}  // namespace g2rpo
