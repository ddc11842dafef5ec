// Tiles of queries and keys in shared memory, and the products between them. A block of 256 threads has a tile of side × side scores, 16
// threads to a row: thread (x, y) has the rows y·per… and the columns x, x + 16, …
#pragma once
#include "../../backends/cuda/groups.h"
#include "op.h"

namespace g2rpo::attention {

using cuda::Refusal;

constexpr double kLog2E = 1.4426950408889634;

/** Sizes of a call; strides are between rows. */
struct Shape {
  size_t rows, heads, key_heads, width, query_stride, key_stride, segments, group, keys_before = 0;
  bool causal;
};

/** Sides of tiles, so that four of them and two of scores fit in the shared memory of a block (library.cu knows how much that is). `Width` is the head size, rounded up. */
template <class T, int Width> struct Tile {
  static constexpr int side = (sizeof(T) == 4 ? 64 : 32) / (Width > 128 ? 2 : 1), per = side / 16, columns = Width / 16;
  static_assert(kAttentionTile % side == 0);
  static constexpr int stride = Width + 1, scores = side + 1;  // odd, so that a column of a tile lies in different banks
  static constexpr size_t bytes(int tiles, int of_scores) {
    return sizeof(T) * static_cast<size_t>(side * (tiles * stride + of_scores * scores));
  }
};

/** What a block works on: some queries of a segment, all heads that share a key head, or some keys of it. */
struct Part {
  size_t begin, end;                // the segment's rows
  size_t prefix_begin, prefix_end;  // rows of its prefix
  size_t segment, first;            // first: the first query of it (row · group + head), or the first key

  /** Queries of a segment that come after `first`, at most a tile of them. */
  __device__ size_t lanes(size_t group, size_t side) const {
    const size_t all = (end - begin) * group;
    return all - first < side ? all - first : side;
  }
};

/** The segments of a call on the device, and at which tile each begins. */
struct Plan {
  const int32_t *starts, *prefix;
  const int32_t* tiles;  // [segments + 1]
  size_t segments;

  /** False where there is no such tile. */
  __device__ bool part(size_t tile, size_t side, Part& p) const {
    if (tile >= static_cast<size_t>(tiles[segments])) return false;
    const size_t z = p.segment = cuda::group_of(tiles, segments, tile);
    p.begin = static_cast<size_t>(starts[z]), p.end = static_cast<size_t>(starts[z + 1]);
    p.first = (tile - static_cast<size_t>(tiles[z])) * side;
    const int32_t seen = prefix[z];
    p.prefix_begin = seen < 0 ? 0 : static_cast<size_t>(starts[seen]);
    p.prefix_end = seen < 0 ? 0 : static_cast<size_t>(starts[seen + 1]);
    return true;
  }
};

/** Rows of a tile that begin at `data`, `step` apart; what is beyond `count` rows or `width` elements is 0. */
template <class T, int Width, class At> __device__ void take(T* tile, size_t count, size_t width, At&& at) {
  using S = Tile<T, Width>;
  for (int i = static_cast<int>(threadIdx.x); i < S::side * Width; i += 256) {
    const int row = i / Width, column = i % Width;
    const bool there = static_cast<size_t>(row) < count && static_cast<size_t>(column) < width;
    tile[row * S::stride + column] = there ? at(static_cast<size_t>(row))[column] : T(0);
  }
}

/** sum[i][j] = row y·per + i of a times row x + 16·j of b. */
template <class T, int Width> __device__ void rows_times_rows(const T* a, const T* b, T (&sum)[Tile<T, Width>::per][Tile<T, Width>::per]) {
  using S = Tile<T, Width>;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < S::per; i++)
#pragma unroll
    for (int j = 0; j < S::per; j++) sum[i][j] = 0;
#pragma unroll 4
  for (int d = 0; d < Width; d++) {
    T u[S::per], v[S::per];
#pragma unroll
    for (int i = 0; i < S::per; i++) u[i] = a[(y * S::per + i) * S::stride + d], v[i] = b[(x + 16 * i) * S::stride + d];
#pragma unroll
    for (int i = 0; i < S::per; i++)
#pragma unroll
      for (int j = 0; j < S::per; j++) sum[i][j] = fma(u[i], v[j], sum[i][j]);
  }
}

/** sum[i][j] += Σ over c of scores(row y·per + i, c) · b[c][x + 16·j]; transposed: of scores(c, row). */
template <class T, int Width, bool Transposed>
__device__ void scores_times(const T* scores, const T* b, T (&sum)[Tile<T, Width>::per][Tile<T, Width>::columns]) {
  using S = Tile<T, Width>;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 4
  for (int c = 0; c < S::side; c++) {
    T u[S::per];
#pragma unroll
    for (int i = 0; i < S::per; i++) u[i] = Transposed ? scores[c * S::scores + y * S::per + i] : scores[(y * S::per + i) * S::scores + c];
#pragma unroll
    for (int j = 0; j < S::columns; j++) {
      const T v = b[c * S::stride + x + 16 * j];
#pragma unroll
      for (int i = 0; i < S::per; i++) sum[i][j] = fma(u[i], v, sum[i][j]);
    }
  }
}

/** Whether a segment's prefix is none, or another one without a prefix; what is not is refused. */
struct KnownPrefix {
  const int32_t* prefix;
  size_t segments;
  Refusal known;
  __device__ bool operator()(size_t z) const {
    const int64_t p = prefix[z];
    const bool is = p == -1 || (p >= 0 && p < static_cast<int64_t>(segments) && p != static_cast<int64_t>(z) && prefix[p] == -1);
    if (!is) known.at(z);
    return is;
  }
};

}  // namespace g2rpo::attention
