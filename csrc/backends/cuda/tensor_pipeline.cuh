// Matrix products on tensor cores of operands that are bf16 in memory: tiles travel into shared memory by themselves, three ahead of the one that
// is multiplied. For operands whose rows are whole pieces of 16 bytes; others go through tensor_gemm.cuh.
#pragma once
#include "tensor_gemm.cuh"

namespace g2rpo::cuda {

struct Pipeline {
  static constexpr int depth = 32, stages = 4;  // of k in a tile; tiles in shared memory
};

/**
 * How a tile of an operand lies in shared memory, in pieces of 16 bytes. Pieces of a row change places, so that the same piece of eight rows behind each other
 * lies in different banks, as do pieces that neighbours fetch.
 */
template <int Side, bool Along> struct SharedTile {
  static constexpr int per_row = (Along ? Pipeline::depth : Side) / 8, pieces = Side * Pipeline::depth / 8;
  static __device__ int at(int row, int piece) { return row * per_row + (piece ^ (Along ? row / 2 % 4 : row % 8)); }
};

/** A block of eight warps has Rows × Columns of C, each warp a part of that. */
template <int Rows_, int Columns_, int WarpRows_, int WarpColumns_> struct PipelineTile {
  static constexpr int Rows = Rows_, Columns = Columns_, WarpRows = WarpRows_, WarpColumns = WarpColumns_;
  static constexpr int together = Rows < 128 ? 2 : 1;  // blocks of a processor at least
  static_assert(Rows / WarpRows * (Columns / WarpColumns) == 8);
};
using LargeTile = PipelineTile<128, 256, 64, 64>;
using SmallTile = PipelineTile<64, 128, 32, 32>;

/** What a thread fetches of the tiles of one operand, which lie behind each other along k. */
template <int Side, bool Along> class Fetcher {
  using Tile = SharedTile<Side, Along>;
  static constexpr int depth = Pipeline::depth, rows = 256 / Tile::per_row, count = Tile::pieces / 256;

 public:
  __device__ Fetcher(int thread, const bf16* data, size_t leading, size_t across, size_t along, size_t across_end)
      : row_(thread / Tile::per_row), column_(thread % Tile::per_row * 8), left_(static_cast<int>(across_end - across)), leading_(leading),
        at_(data + (Along ? across * leading + along : along * leading + across) + static_cast<size_t>(row_) * leading + static_cast<size_t>(column_)), data_(data) {}

  /** The next tile, of which `depth_left` is there along k. */
  __device__ void next(uint4* tile, size_t depth_left) {
    const int end = depth_left < depth ? static_cast<int>(depth_left) : depth;
#pragma unroll
    for (int r = 0; r < count; r++) {
      const int row = row_ + r * rows;
      const bool inside = Along ? row < left_ && column_ < end : row < end && column_ < left_;
      fetch(tile + Tile::at(row, column_ / 8), inside ? at_ + static_cast<size_t>(r * rows) * leading_ : data_, inside);
    }
    at_ += Along ? depth : depth * leading_;
  }

 private:
  int row_, column_, left_;  // left_: of the operand across k
  size_t leading_;
  const bf16 *at_, *data_;
};

template <class Tile, bool AAlong, bool BAlong>
__global__ void __launch_bounds__(256, Tile::together) multiply_pipelined(TensorProduct<bf16, bf16> p, size_t part, float* partials) {
  constexpr int stages = Pipeline::stages, depth = Pipeline::depth;
  using ATile = SharedTile<Tile::Rows, AAlong>;
  using BTile = SharedTile<Tile::Columns, BAlong>;
  constexpr int down = Tile::WarpRows / 16, pairs = Tile::WarpColumns / 16, across = Tile::Columns / Tile::WarpColumns;
  const auto a_tile = [&](int stage) { return dynamic_shared + stage * (ATile::pieces + BTile::pieces); };
  const auto b_tile = [&](int stage) { return a_tile(stage) + ATile::pieces; };
  size_t row, column;
  square_of(blockIdx.x, (p.m + Tile::Rows - 1) / Tile::Rows, (p.n + Tile::Columns - 1) / Tile::Columns, row, column);
  row *= Tile::Rows, column *= Tile::Columns;
  const size_t begin = blockIdx.y * part, end = begin + part < p.k ? begin + part : p.k;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int y = warp / across * Tile::WarpRows, x = warp % across * Tile::WarpColumns;
  Fetcher<Tile::Rows, AAlong> a(thread, p.a, AAlong ? p.k : p.m, row, begin, p.m);
  Fetcher<Tile::Columns, BAlong> b(thread, p.b, BAlong ? p.k : p.n, column, begin, p.n);
  size_t fetched = begin;
  const auto fetch_next = [&](int stage) {
    if (fetched < end) a.next(a_tile(stage), end - fetched), b.next(b_tile(stage), end - fetched);
    fetched += depth;
    close_group();
  };
#pragma unroll
  for (int s = 0; s < stages - 1; s++) fetch_next(s);
  float sum[down][2 * pairs][4] = {};
  const int square = lane / 8, line = lane % 8;  // lanes of eight name the rows of one square: which one of four, and which row of it
  int now = 0, free = stages - 1;
  for (size_t at = begin; at < end; at += depth) {
    wait_for_groups<stages - 2>();
    __syncthreads();  // everybody's part of this tile is there, and the tile before is read
    fetch_next(free);
    const auto *left = a_tile(now), *right = b_tile(now);
#pragma unroll
    for (int d = 0; d < depth; d += 16) {
      uint32_t u[down][4], v[pairs][4];
#pragma unroll
      for (int i = 0; i < down; i++) {  // squares: rows, rows + 8, the same further along k
        const int r = y + 16 * i + square % 2 * 8, k = d + square / 2 * 8;
        if (AAlong) load_squares(left + ATile::at(r + line, k / 8), u[i]);
        else load_squares_transposed(left + ATile::at(k + line, r / 8), u[i]);
      }
#pragma unroll
      for (int j = 0; j < pairs; j++) {  // squares: columns, further along k, columns + 8, further along k
        const int c = x + 16 * j + square / 2 * 8, k = d + square % 2 * 8;
        if (BAlong) load_squares(right + BTile::at(c + line, k / 8), v[j]);
        else load_squares_transposed(right + BTile::at(k + line, c / 8), v[j]);
      }
#pragma unroll
      for (int i = 0; i < down; i++)
#pragma unroll
        for (int j = 0; j < 2 * pairs; j++) multiply_squares(u[i], v[j / 2][j % 2 * 2], v[j / 2][j % 2 * 2 + 1], sum[i][j]);
    }
    free = now;
    now = now + 1 == stages ? 0 : now + 1;
  }
  const Written to(p.written(), gridDim.y > 1 ? partials : nullptr);
#pragma unroll
  for (int i = 0; i < down; i++)
#pragma unroll
    for (int j = 0; j < 2 * pairs; j++)
#pragma unroll
      for (int e = 0; e < 4; e += 2)
        to.put(row + static_cast<size_t>(y + 16 * i + lane / 4 + e / 2 * 8), column + static_cast<size_t>(x + 8 * j + lane % 4 * 2), sum[i][j][e], sum[i][j][e + 1]);
}

template <class Tile> size_t tiles_of(size_t m, size_t n) { return ((m + Tile::Rows - 1) / Tile::Rows) * ((n + Tile::Columns - 1) / Tile::Columns); }

template <class Tile, bool AAlong, bool BAlong> void start_pipelined(Stream& stream, const TensorProduct<bf16, bf16>& p) {
  constexpr size_t depth = Pipeline::depth, shared = Pipeline::stages * (SharedTile<Tile::Rows, AAlong>::pieces + SharedTile<Tile::Columns, BAlong>::pieces) * sizeof(uint4);
  const size_t tiles = tiles_of<Tile>(p.m, p.n), parts = parts_of(tiles, p.k), part = ((p.k + parts - 1) / parts + depth - 1) / depth * depth;
  Temporary<float> partials(stream, parts > 1 ? parts * p.m * p.n : 0);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(parts));
  launch_shared(stream, multiply_pipelined<Tile, AAlong, BAlong>, grid, 256u, shared, p, part, partials.get());
  if (parts > 1) launch(stream, add_parts<float>, blocks_for(p.m * p.n), kThreads, p.written(), parts, partials.get());
}

/** Rows of A and of B must be whole pieces of 16 bytes and begin at such. */
inline void multiply_pipelined(Stream& stream, const TensorProduct<bf16, bf16>& p) {
  constexpr size_t enough = 100;  // large tiles for most of a device's processors
  const auto with = [&]<class Tile>(Tile) {
    if (p.a_along) return p.b_along ? start_pipelined<Tile, true, true>(stream, p) : start_pipelined<Tile, true, false>(stream, p);
    return p.b_along ? start_pipelined<Tile, false, true>(stream, p) : start_pipelined<Tile, false, false>(stream, p);
  };
  if (tiles_of<LargeTile>(p.m, p.n) >= enough) with(LargeTile{});
  else with(SmallTile{});
}

}  // namespace g2rpo::cuda
