// A product for every expert, of rows that only the device counts: blocks are as many as tiles can be at most, and find their expert by the tiles
// before it. Sums run along k from its beginning, one term after the other, whichever kernel computes them: a row's bits depend on nothing beside it.
#include <string>

#include "../../backends/cuda/gemm.cuh"
#include "../../backends/cuda/groups.h"
#include "op.h"

namespace g2rpo {

namespace {

using cuda::Refusal;

/** c[p] = a[p]·B[e] for the rows p of expert e, B [k, n], or [n, k] where it lies along k. */
template <class T, class W> struct Rows {
  const T* a;
  const W* weight;
  T* c;
  size_t k, n;
  const int32_t *starts, *tiles;
  size_t experts;

  /** The product of the rows up to the last one of a tile's expert, and the first row of the tile; false where there is no such tile. */
  __device__ bool find(size_t tile, size_t side, cuda::Product<T, W>& p, size_t& row) const {
    if (tile >= static_cast<size_t>(tiles[experts])) return false;
    const size_t e = cuda::group_of(tiles, experts, tile);
    p = {.m = static_cast<size_t>(starts[e + 1]), .n = n, .k = k, .a = a, .b = weight + e * k * n, .a_along = true, .b_along = false, .c = c};
    row = static_cast<size_t>(starts[e]) + (tile - static_cast<size_t>(tiles[e])) * side;
    return true;
  }
};

/** Tiles of many rows, and as many columns. */
template <class T, class W, bool BAlong> __global__ void __launch_bounds__(256, 2) multiply_rows(Rows<T, W> rows) {
  constexpr size_t side = cuda::Square<T>::side;
  const size_t columns = (rows.n + side - 1) / side;
  cuda::Product<T, W> p;
  size_t row;
  if (!rows.find(blockIdx.x / columns, side, p, row)) return;
  cuda::multiply_square<true, BAlong>(p, row, blockIdx.x % columns * side, 0, p.k, [&](size_t r, size_t c, T sum) { cuda::put(p, r, c, sum); });
}

constexpr size_t kFew = 8;            // rows of a tile where experts have few
constexpr size_t kFewOnAverage = 16;  // of an expert
constexpr unsigned kFewThreads = 64;

/** Tiles of few rows: a thread has a pack of columns, and reads of the matrix what nobody else in the block does. */
template <class T, class W, int Columns> __global__ void __launch_bounds__(kFewThreads) multiply_few_rows(Rows<T, W> rows) {
  constexpr size_t depth = 64, ahead = 16;  // of k: in shared memory, and loads of the matrix under way
  alignas(16) __shared__ T x[depth][kFew];
  const size_t columns = (rows.n + kFewThreads * Columns - 1) / (kFewThreads * Columns);
  cuda::Product<T, W> p;
  size_t first;
  if (!rows.find(blockIdx.x / columns, kFew, p, first)) return;
  const size_t count = p.m - first < kFew ? p.m - first : kFew;
  const size_t column = (blockIdx.x % columns * kFewThreads + threadIdx.x) * Columns;
  T sum[kFew][Columns] = {};
  for (size_t at = 0; at < p.k; at += depth) {
    __syncthreads();
    for (size_t i = threadIdx.x; i < depth * kFew; i += kFewThreads) {
      const size_t r = i / depth, d = i % depth;
      x[d][r] = r < count && at + d < p.k ? p.a[(first + r) * p.k + at + d] : T(0);
    }
    __syncthreads();
    if (column >= p.n) continue;
    const auto take = [&](size_t d) { return cuda::load<Columns>(p.b + (at + d) * p.n + column); };
    const auto add = [&](size_t d, const cuda::Pack<W, Columns>& w) {
#pragma unroll
      for (size_t r = 0; r < kFew; r++)
#pragma unroll
        for (int c = 0; c < Columns; c++) sum[r][c] = fma(x[d][r], cuda::widened(w.x[c]), sum[r][c]);
    };
    size_t d = 0;
    for (const size_t here = p.k - at < depth ? p.k - at : depth; d < here;) {
      if (d + ahead > here) {
        add(d, take(d)), d++;
        continue;
      }
      cuda::Pack<W, Columns> w[ahead];
#pragma unroll
      for (size_t i = 0; i < ahead; i++) w[i] = take(d + i);
#pragma unroll
      for (size_t i = 0; i < ahead; i++) add(d + i, w[i]);
      d += ahead;
    }
  }
  if (column >= p.n) return;
#pragma unroll
  for (size_t r = 0; r < kFew; r++) {
    if (r >= count) break;
    cuda::Pack<T, Columns> out;
    for (int c = 0; c < Columns; c++) out.x[c] = sum[r][c];
    cuda::store<Columns>(p.c + (first + r) * p.n + column, out);
  }
}

/** C[e] += Aᵀ·B over the rows of expert e; a block to each square of every expert, also of those without rows. */
template <class T> struct Weights {
  const T *a, *b;
  T* c;  // [experts, m, n]
  size_t m, n;
  const int32_t *starts, *tiles;
};

template <class T> __global__ void __launch_bounds__(256, 2) multiply_weights(Weights<T> w) {
  constexpr size_t side = cuda::Square<T>::side;
  const size_t columns = (w.n + side - 1) / side, squares = (w.m + side - 1) / side * columns, e = blockIdx.x / squares, square = blockIdx.x % squares;
  if (w.tiles[e] == w.tiles[e + 1]) return;  // no rows, or starts that were refused
  const cuda::Product<T> p{.m = w.m, .n = w.n, .k = 0, .a = w.a, .b = w.b, .a_along = false, .b_along = false, .c = w.c + e * w.m * w.n, .accumulate = true};
  cuda::multiply_square<false, false>(p, square / columns * side, square % columns * side, static_cast<size_t>(w.starts[e]),
                                      static_cast<size_t>(w.starts[e + 1]), [&](size_t r, size_t c, T sum) { cuda::put(p, r, c, sum); });
}

cuda::GroupTiles tiles_of(Stream& stream, const char* kernel, View<const int32_t> starts, size_t rows, size_t side) {
  const std::string message = std::string(kernel) + ": starts must rise from 0 to P = " + std::to_string(rows);
  const auto rising = cuda::refusal(stream, "INVALID_ARGUMENT", [message](size_t, const auto&) { return message; });
  return {stream, starts.data, starts.size - 1, rows, 1, side, rising};
}

template <class T, class W> void few_rows(Stream& stream, const Rows<T, W>& rows, unsigned tiles) {
  cuda::with_pack<T>(rows.n, cuda::aligned(rows.weight, rows.c), [&]<int Columns>(std::integral_constant<int, Columns>) {
    cuda::launch(stream, multiply_few_rows<T, W, Columns>, tiles * cuda::blocks_for(rows.n, kFewThreads * Columns), kFewThreads, rows);
  });
}

}  // namespace

KERNEL_WEIGHT(cuda, ExpertLinear) {
  const size_t rows = op.x.dim[0], k = op.weight.dim[1], n = op.weight.dim[2], experts = op.starts.size - 1;
  const bool few = rows <= kFewOnAverage * experts;
  const auto tiles = tiles_of(stream, op.kName, op.starts, rows, few ? kFew : cuda::Square<T>::side);
  if (rows * experts * n == 0) return;
  const Rows<T, W> all{op.x.data, op.weight.data, op.y.data, k, n, op.starts.data, tiles.tiles.get(), experts};
  if (few) few_rows(stream, all, tiles.bound);
  else cuda::launch(stream, multiply_rows<T, W, false>, tiles.bound * cuda::blocks_for(n, cuda::Square<T>::side), 256u, all);
}

KERNEL_WEIGHT(cuda, ExpertLinearBackwardInput) {
  const size_t rows = op.dY.dim[0], k = op.weight.dim[1], n = op.weight.dim[2], experts = op.starts.size - 1;
  const auto tiles = tiles_of(stream, op.kName, op.starts, rows, cuda::Square<T>::side);
  if (rows * experts * k == 0) return;
  const Rows<T, W> all{op.dY.data, op.weight.data, op.dX.data, n, k, op.starts.data, tiles.tiles.get(), experts};
  cuda::launch(stream, multiply_rows<T, W, true>, tiles.bound * cuda::blocks_for(k, cuda::Square<T>::side), 256u, all);
}

KERNEL_REAL(cuda, ExpertLinearBackwardWeight) {
  const size_t rows = op.dY.dim[0], k = op.dWeight.dim[1], n = op.dWeight.dim[2], experts = op.starts.size - 1;
  const auto tiles = tiles_of(stream, op.kName, op.starts, rows, cuda::Square<T>::side);
  if (rows * experts * k * n == 0) return;
  const Weights<T> all{op.x.data, op.dY.data, op.dWeight.data, k, n, op.starts.data, tiles.tiles.get()};
  const size_t squares = static_cast<size_t>(cuda::blocks_for(k, cuda::Square<T>::side)) * cuda::blocks_for(n, cuda::Square<T>::side);
  cuda::launch(stream, multiply_weights<T>, static_cast<unsigned>(experts * squares), 256u, all);
}

}  // namespace g2rpo
