#include "../../backends/cuda/grids.h"
#include "../../backends/cuda/indices.h"
#include "op.h"
#include "table_side.h"

namespace g2rpo {

namespace {

/** Patch i of n on a table of side N: it lies between rows (or columns) `low` and `high`, `share` of the way to `high`. */
template <class T> struct Place {
  int32_t low, high;
  T share;
};
template <class T> __device__ Place<T> place(int32_t i, int32_t n, int32_t side) {
  const T at = n > 1 ? static_cast<T>(i) * static_cast<T>(side - 1) / static_cast<T>(n - 1) : T(0);
  const int32_t low = static_cast<int32_t>(at) < side - 1 ? static_cast<int32_t>(at) : side - 1;
  return {low, low + 1 < side ? low + 1 : low, at - static_cast<T>(low)};
}

/** The four table rows around a patch and their shares. */
template <class T> struct Taps {
  int32_t row[4];
  T share[4];
};

/** Of patch p on a table of side N. All grids fit. */
template <class T> __device__ Taps<T> taps_of(const cuda::Grids& g, int32_t side, size_t p) {
  const auto at = g.place(p);
  const Place<T> y = place<T>(at.row, at.h, side), x = place<T>(at.column, at.w, side);
  return {{y.low * side + x.low, y.low * side + x.high, y.high * side + x.low, y.high * side + x.high},
          {(1 - y.share) * (1 - x.share), (1 - y.share) * x.share, y.share * (1 - x.share), y.share * x.share}};
}

template <class T, class Rows>
__global__ void __launch_bounds__(Rows::kBlock) add_table(cuda::Grids g, int32_t side, const T* table, size_t patches, size_t width, T* x) {
  const size_t p = Rows::row();
  if (p >= patches || !g.fit(patches)) return;
  const Taps<T> taps = taps_of<T>(g, side, p);
  Rows::each(width, [&](int, size_t i) {
    cuda::Pack<T, Rows::W> from[4];
    for (int k = 0; k < 4; k++) from[k] = cuda::load<Rows::W>(table + static_cast<size_t>(taps.row[k]) * width + i);
    auto held = cuda::load<Rows::W>(x + p * width + i);
    for (int w = 0; w < Rows::W; w++) {
      T v = from[0].x[w] * taps.share[0];
      for (int k = 1; k < 4; k++) v = fma(from[k].x[w], taps.share[k], v);
      held.x[w] += v;
    }
    cuda::store<Rows::W>(x + p * width + i, held);
  });
}

/** keys[4p + k] and shares[4p + k]: of the taps of patch p; keys of no row where grids do not fit. */
template <class T> __global__ void list_taps(cuda::Grids g, int32_t side, size_t patches, int32_t none, int32_t* keys, T* shares) {
  const size_t p = cuda::global_index();
  if (p >= patches) return;
  const Taps<T> taps = g.fit(patches) ? taps_of<T>(g, side, p) : Taps<T>{{none, none, none, none}, {}};
  for (int k = 0; k < 4; k++) keys[4 * p + k] = taps.row[k], shares[4 * p + k] = taps.share[k];
}

}  // namespace

KERNEL_REAL(cuda, PositionEmbedding) {
  const size_t patches = op.x.dim[0], width = op.x.dim[1];
  const int32_t side = table_side(stream, op.kName, op.table.dim[0]);
  if (!side || !merge_holds(stream, op.kName, op.merge)) return;
  cuda::Temporary<size_t> first(stream, op.grids.size / 3 + 1);
  const cuda::Grids g = cuda::place_all(stream, op, patches, first.get());
  if (patches == 0 || width == 0) return;
  cuda::with_row_team<T>(width, cuda::aligned(op.table.data, op.x.data), [&]<class Rows>(Rows) {
    cuda::launch(stream, add_table<T, Rows>, cuda::blocks_for(patches, Rows::kRows), Rows::kBlock, g, side, op.table.data, patches, width, op.x.data);
  });
}

KERNEL_REAL(cuda, PositionEmbeddingBackward) {
  const size_t patches = op.dX.dim[0], width = op.dX.dim[1], rows = op.dTable.dim[0];
  const int32_t side = table_side(stream, op.kName, rows);
  if (!side || !merge_holds(stream, op.kName, op.merge)) return;
  cuda::Temporary<size_t> first(stream, op.grids.size / 3 + 1);
  const cuda::Grids g = cuda::place_all(stream, op, patches, first.get());
  if (patches == 0 || width == 0) return;
  cuda::Temporary<int32_t> keys(stream, 4 * patches);
  cuda::Temporary<T> shares(stream, 4 * patches);
  cuda::launch(stream, list_taps<T>, cuda::blocks_for(patches), cuda::kThreads, g, side, patches, rows, keys.get(), shares.get());
  cuda::add_in_order<T>(stream, keys.get(), rows, {op.dX.data, nullptr, 4, shares.get(), op.dTable.data, 4 * patches, width});
}

}  // namespace g2rpo
