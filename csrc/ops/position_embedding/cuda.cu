#include "../../backends/cuda/indices.h"
#include "messages.h"
#include "op.h"

namespace g2rpo {

namespace {

/** Grids (t, h, w), and the first patch of each: [count + 1], all ones at `count` where a grid does not fit. */
struct Grids {
  const int32_t* grids;
  size_t count;
  int32_t merge, side;
  size_t* first;
};

/** How grids are refused that have bad sides, hold too many patches, or too few. */
struct Refusals {
  cuda::Refusal sides, too_many, too_few;
};

constexpr size_t kTogether = 256;  // grids of which a block loads the sides at a time

/** One block; its first thread adds up. */
__global__ void place_grids(Grids g, size_t patches, Refusals refusals) {
  __shared__ int32_t sides[kTogether * 3];
  __shared__ bool holds;
  size_t at = 0;
  if (threadIdx.x == 0) holds = true;
  for (size_t begin = 0; begin < g.count; begin += kTogether) {
    const size_t n = g.count - begin < kTogether ? g.count - begin : kTogether;
    __syncthreads();
    for (size_t i = threadIdx.x; i < 3 * n; i += blockDim.x) sides[i] = g.grids[3 * begin + i];
    __syncthreads();
    if (threadIdx.x == 0)
      for (size_t i = 0; i < n && holds; i++) {
        const int32_t t = sides[3 * i], h = sides[3 * i + 1], w = sides[3 * i + 2];
        const size_t frame = static_cast<size_t>(h) * static_cast<size_t>(w), left = patches - at;
        holds = false;
        if (t < 1 || h < 1 || w < 1 || h % g.merge || w % g.merge) refusals.sides.at(begin + i, t, h, w);
        else if (frame > left || static_cast<size_t>(t) > left / frame) refusals.too_many.at(begin + i, t, h, w);
        else holds = true, g.first[begin + i] = at, at += frame * static_cast<size_t>(t);
      }
  }
  if (threadIdx.x != 0) return;
  if (holds && at < patches) refusals.too_few.at(at);
  g.first[g.count] = holds && at == patches ? at : ~size_t{0};
}

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

/** Patch p, in merge order: block by block, and inside a block row by row. All grids fit. */
template <class T> __device__ Taps<T> taps_of(const Grids& g, size_t p) {
  const size_t k = cuda::group_of(g.first, g.count, p);
  const int32_t h = g.grids[3 * k + 1], w = g.grids[3 * k + 2], m = g.merge;
  const auto i = static_cast<int32_t>((p - g.first[k]) % (static_cast<size_t>(h) * static_cast<size_t>(w)));
  const int32_t block = i / (m * m), inside = i % (m * m), wide = w / m;
  const Place<T> y = place<T>(block / wide * m + inside / m, h, g.side), x = place<T>(block % wide * m + inside % m, w, g.side);
  return {{y.low * g.side + x.low, y.low * g.side + x.high, y.high * g.side + x.low, y.high * g.side + x.high},
          {(1 - y.share) * (1 - x.share), (1 - y.share) * x.share, y.share * (1 - x.share), y.share * x.share}};
}

template <class T, class Rows> __global__ void __launch_bounds__(Rows::kBlock) add_table(Grids g, const T* table, size_t patches, size_t width, T* x) {
  const size_t p = Rows::row();
  if (p >= patches || g.first[g.count] != patches) return;
  const Taps<T> taps = taps_of<T>(g, p);
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
template <class T> __global__ void list_taps(Grids g, size_t patches, int32_t none, int32_t* keys, T* shares) {
  const size_t p = cuda::global_index();
  if (p >= patches) return;
  const bool fit = g.first[g.count] == patches;
  const Taps<T> taps = fit ? taps_of<T>(g, p) : Taps<T>{{none, none, none, none}, {}};
  for (int k = 0; k < 4; k++) keys[4 * p + k] = taps.row[k], shares[4 * p + k] = taps.share[k];
}

/** Enqueues the check of an op's grids. */
template <class Op> Grids place_all(Stream& stream, const Op& op, size_t patches, int32_t side, size_t* first) {
  const Grids g{op.grids.data, op.grids.size / 3, op.merge, side, first};
  const int32_t merge = op.merge;
  const Refusals refusals{
      cuda::refusal(stream, "INVALID_ARGUMENT",
                    [=](size_t i, const auto& v) -> std::string { return GridMessage::sides(Op::kName, i, merge, v[0], v[1], v[2]).text; }),
      cuda::refusal(stream, "INVALID_ARGUMENT",
                    [=](size_t i, const auto& v) -> std::string { return GridMessage::too_many(Op::kName, patches, i, v[0], v[1], v[2]).text; }),
      cuda::refusal(stream, "INVALID_ARGUMENT", [=](size_t got, const auto&) -> std::string { return GridMessage::too_few(Op::kName, patches, got).text; })};
  cuda::launch(stream, place_grids, 1, cuda::kThreads, g, patches, refusals);
  return g;
}

}  // namespace

KERNEL_REAL(cuda, PositionEmbedding) {
  const size_t patches = op.x.dim[0], width = op.x.dim[1];
  const int32_t side = table_side(stream, op.kName, op.table.dim[0]);
  if (!side || !merge_holds(stream, op.kName, op.merge)) return;
  cuda::Temporary<size_t> first(stream, op.grids.size / 3 + 1);
  const Grids g = place_all(stream, op, patches, side, first.get());
  if (patches == 0 || width == 0) return;
  cuda::with_row_team<T>(width, cuda::aligned(op.table.data, op.x.data), [&]<class Rows>(Rows) {
    cuda::launch(stream, add_table<T, Rows>, cuda::blocks_for(patches, Rows::kRows), Rows::kBlock, g, op.table.data, patches, width, op.x.data);
  });
}

KERNEL_REAL(cuda, PositionEmbeddingBackward) {
  const size_t patches = op.dX.dim[0], width = op.dX.dim[1], rows = op.dTable.dim[0];
  const int32_t side = table_side(stream, op.kName, rows);
  if (!side || !merge_holds(stream, op.kName, op.merge)) return;
  cuda::Temporary<size_t> first(stream, op.grids.size / 3 + 1);
  const Grids g = place_all(stream, op, patches, side, first.get());
  if (patches == 0 || width == 0) return;
  cuda::Temporary<int32_t> keys(stream, 4 * patches);
  cuda::Temporary<T> shares(stream, 4 * patches);
  cuda::launch(stream, list_taps<T>, cuda::blocks_for(patches), cuda::kThreads, g, patches, rows, keys.get(), shares.get());
  cuda::add_in_order<T>(stream, keys.get(), rows, {op.dX.data, nullptr, 4, shares.get(), op.dTable.data, 4 * patches, width});
}

}  // namespace g2rpo
