// Tiles of bf16 in shared memory and their products on tensor cores, for attention whose operands may be rounded. All queries of a key head lie
// behind each other, so that a tile of them is one piece of memory and travels by itself.
#pragma once
#include <tensor_core.cuh>

#include "../../backends/cuda/vectors.h"
#include "tiles.cuh"

namespace g2rpo::attention {

using cuda::dynamic_shared;

struct TensorArguments {
  /** bf16: [key heads][rows][heads that share one][Width], rows of queries those behind keys_before; a row is whole pieces of 16 bytes */
  const uint4 *query, *key, *value, *d_output;
  /** of every query as it lies there: logSumExp · log₂e, and dOutput · output */
  const float2* numbers;
  Plan queries, keys;
  Shape s;
  float scale, exponent;  // exponent: scale · log₂e
  float *out, *log_sum_exp, *d_query, *d_key, *d_value;  // by rows of keys
  bf16 *narrow_out, *narrow_d_value;                     // in the place of out and d_value, where they are there

  /** Where the queries of a segment that begins with row `begin` lie, in rows of Width. */
  __device__ size_t first_query(size_t g, size_t begin) const { return (g * (s.rows - s.keys_before) + begin - s.keys_before) * s.group; }
};

/** A row of a tile in shared memory, in pieces of 16 bytes: an odd number, so that the same piece of eight rows lies in different banks. */
template <int Width> struct TensorRow {
  static constexpr int pieces = Width / 8, stride = pieces | 1;
};

/** Brings Rows rows that lie behind each other, zeros from row `there` on; by Threads threads. */
template <int Width, int Rows, int Threads> __device__ void fetch_rows(uint4* tile, const uint4* from, int there) {
  using Row = TensorRow<Width>;
  constexpr int pieces = Rows * Row::pieces;
#pragma unroll 4  // no more, since addresses are registers and sums need them
  for (int r = 0; r < (pieces + Threads - 1) / Threads; r++) {
    const int i = r * Threads + static_cast<int>(threadIdx.x), row = i / Row::pieces, piece = i % Row::pieces;
    if (pieces % Threads == 0 || i < pieces) cuda::fetch(tile + row * Row::stride + piece, from + (row < there ? i : 0), row < there);
  }
}

/** Adds the products of u with two neighbouring squares of columns, the j-th pair. */
template <int M, int N> __device__ void multiply_pair(const uint32_t (&u)[M][4], const uint32_t (&v)[4], int j, float (&sum)[M][N][4]) {
#pragma unroll
  for (int i = 0; i < M; i++)
    cuda::multiply_squares(u[i], v[0], v[1], sum[i][2 * j]), cuda::multiply_squares(u[i], v[2], v[3], sum[i][2 * j + 1]);
}

/** sum[16·M][8·N] = rows of a times rows of b, by a warp, as multiply_squares has them. */
template <int Width, int M, int N> __device__ void rows_by_rows(const uint4* a, const uint4* b, float (&sum)[M][N][4]) {
  constexpr int stride = TensorRow<Width>::stride;
  const int lane = static_cast<int>(threadIdx.x) % 32, square = lane / 8, line = lane % 8;  // lanes of eight name the rows of one square
  a += (square % 2 * 8 + line) * stride + square / 2;  // squares: rows, 8 rows on, the same further along the width
  b += (square / 2 * 8 + line) * stride + square % 2;  // squares: rows, further along the width, 8 rows on
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum[i][j][e] = 0;
  constexpr int steps = Width / 16, together = steps < 8 ? steps : 4;  // as many as leave registers for the sums
#pragma unroll together
  for (int d = 0; d < steps; d++) {
    uint32_t u[M][4];
#pragma unroll
    for (int i = 0; i < M; i++) cuda::load_squares(a + 16 * i * stride + 2 * d, u[i]);
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
      uint32_t v[4];
      cuda::load_squares(b + 16 * j * stride + 2 * d, v);
      multiply_pair(u, v, j, sum);
    }
  }
}

/** sum[16·M][Width] += weights[16·M][8·N] · rows of b; weights are rounded to bf16 and stay where products left them. */
template <int Width, int M, int N> __device__ void weights_by_rows(const float (&weights)[M][N][4], const uint4* b, float (&sum)[M][Width / 8][4]) {
  constexpr int stride = TensorRow<Width>::stride;
  const int lane = static_cast<int>(threadIdx.x) % 32, square = lane / 8, line = lane % 8;
  b += (square % 2 * 8 + line) * stride + square / 2;
#pragma unroll
  for (int k = 0; k < N / 2; k++) {
    uint32_t u[M][4];
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
      for (int q = 0; q < 4; q++) u[i][q] = cuda::pack_bf16(weights[i][2 * k + q / 2][q % 2 * 2], weights[i][2 * k + q / 2][q % 2 * 2 + 1]);
#pragma unroll
    for (int j = 0; j < Width / 16; j++) {
      uint32_t v[4];
      cuda::load_squares_transposed(b + 16 * k * stride + 2 * j, v);
      multiply_pair(u, v, j, sum);
    }
  }
}

/** The lower or upper one of a thread's two rows of a product, times a factor, as it is or rounded. */
template <int Width, class Out> __device__ void put_rows(const float (&sum)[Width / 8][4], int half, float factor, size_t width, Out* to) {
  const size_t column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < Width / 8; j++)
    if (const size_t d = 8 * static_cast<size_t>(j) + column; d < width)
      cuda::store_as<2>(to + d, cuda::Pack<float, 2>{sum[j][2 * half] * factor, sum[j][2 * half + 1] * factor});
}

/** The tiles of keys that a part's queries see: those of the prefix, then their own segment's until row `end`, each counted from its beginning. */
template <int Keys> class KeyTiles {
 public:
  struct One {
    int row;           // of its first key
    int first, count;  // first: counted from the beginning of the segment or prefix
    bool own;
  };
  __device__ KeyTiles(const Part& p, size_t end)
      : prefix_begin_(static_cast<int>(p.prefix_begin)), begin_(static_cast<int>(p.begin)), prefix_(static_cast<int>(p.prefix_end - p.prefix_begin)),
        own_(static_cast<int>(end - p.begin)), before_((prefix_ + Keys - 1) / Keys) {}
  __device__ int count() const { return before_ + (own_ + Keys - 1) / Keys; }
  __device__ One operator[](int t) const {
    const bool own = t >= before_;
    const int first = (own ? t - before_ : t) * Keys, left = (own ? own_ : prefix_) - first;
    return {(own ? begin_ : prefix_begin_) + first, first, left < Keys ? left : Keys, own};
  }

 private:
  int prefix_begin_, begin_, prefix_, own_, before_;
};

/** Tiles of keys and values, of which one is read while the next is on its way. */
template <int Width, int Keys, int Threads> struct KeyFeed {
  uint4* memory;  // of 4 · Keys rows
  const TensorArguments& a;
  size_t g;
  const KeyTiles<Keys>& tiles;

  __device__ uint4* k(int t) const { return memory + t % 2 * 2 * Keys * TensorRow<Width>::stride; }
  __device__ uint4* v(int t) const { return k(t) + Keys * TensorRow<Width>::stride; }
  /** Closes a group of fetches, an empty one behind the last tile. */
  __device__ void fetch(int t) const {
    if (t < tiles.count()) {
      const auto tile = tiles[t];
      const size_t from = (g * a.s.rows + static_cast<size_t>(tile.row)) * TensorRow<Width>::pieces;
      fetch_rows<Width, Keys, Threads>(k(t), a.key + from, tile.count);
      fetch_rows<Width, Keys, Threads>(v(t), a.value + from, tile.count);
    }
    cuda::close_group();
  }
};

/** Eight neighbours as bf16. */
__device__ inline uint4 rounded_piece(const bf16* from) { return *reinterpret_cast<const uint4*>(from); }
__device__ inline uint4 rounded_piece(const float* from) {
  const auto low = cuda::load<4>(from), high = cuda::load<4>(from + 4);
  return {cuda::pack_bf16(low.x[0], low.x[1]), cuda::pack_bf16(low.x[2], low.x[3]), cuda::pack_bf16(high.x[0], high.x[1]), cuda::pack_bf16(high.x[2], high.x[3])};
}

/** Where heads that were rounded lie, as TensorArguments has them: a piece of the `query`-th of `all` queries (or keys) of key head g. */
template <int Width> struct RowsInOrder {
  using Number = float2;
  /** The row that `counted` begins with for that one. */
  __device__ size_t first(size_t) const { return 0; }
  __device__ size_t at(size_t g, size_t all, size_t query, unsigned, unsigned piece) const { return (g * all + query) * (Width / 8) + piece; }
};

/** Heads [rows][heads][width] in f32, `stride` elements from row to row; `group` of them share one of the keys'. */
struct WideHeads {
  const float* from;
  size_t stride, rows, heads, group;
  __host__ __device__ size_t pieces(unsigned of_row) const { return rows * heads * of_row; }
};
template <int N> struct SeveralHeads {
  WideHeads heads[N];
};

/** Several of them as a layout wants them, one behind the other; a block to a row of one. */
template <int Width, class Layout, int N> __global__ void round_heads(Layout layout, SeveralHeads<N> operands, unsigned width, uint4* to) {
  constexpr unsigned pieces = Width / 8;
  WideHeads a = operands.heads[0];
#pragma unroll
  for (unsigned i = 1; i < N; i++)  // one after the other: an index would put them all into local memory
    if (blockIdx.y >= i) to += a.pieces(pieces), a = operands.heads[i];
  const size_t row = blockIdx.x;
  if (row >= a.rows) return;
  const auto group = static_cast<unsigned>(a.group), counted = static_cast<unsigned>(row - layout.first(row)) * group;
  for (unsigned i = threadIdx.x; i < a.heads * pieces; i += blockDim.x) {
    const unsigned head = i / pieces, piece = i % pieces;
    to[layout.at(head / group, a.rows * group, row * group + head % group, counted + head % group, piece)] =
        8 * piece < width ? rounded_piece(a.from + row * a.stride + head * width + 8 * piece) : uint4{0, 0, 0, 0};
  }
}

/** Whether rows are whole pieces of 16 bytes, of a head size that tensor cores have kernels for. */
template <class... P> bool for_tensor_cores(const Shape& s, double scale, const P*... data) {
  return (s.width == 64 || s.width == 72 || s.width == 80 || s.width == 128) && s.query_stride % 4 == 0 && s.key_stride % 4 == 0 && scale > 0 && cuda::aligned(data...);
}
/** The launches of a call, with the head size rounded up to whole squares. */
template <class F> void with_tensor_width(size_t width, F&& f) {
  if (width == 64) f.template operator()<64>();
  else if (width <= 80) f.template operator()<80>();
  else f.template operator()<128>();
}

/** Operands of a call as bf16, until its launches are done. */
template <int Width, class Layout, int N> class RoundedHeads {
 public:
  RoundedHeads(Stream& stream, size_t width, Layout layout, const WideHeads (&heads)[N]) : held_(stream, begin(heads, N)) {
    SeveralHeads<N> operands;
    size_t rows = 0;
    for (int i = 0; i < N; i++) {
      operands.heads[i] = heads[i], at_[i] = held_.get() + begin(heads, i);
      rows = heads[i].rows > rows ? heads[i].rows : rows;
    }
    if (rows > 0) cuda::launch(stream, round_heads<Width, Layout, N>, dim3(static_cast<unsigned>(rows), N), 128u, layout, operands, static_cast<unsigned>(width), held_.get());
  }
  const uint4* operator[](int i) const { return at_[i]; }

 private:
  static size_t begin(const WideHeads (&heads)[N], int i) {
    size_t pieces = 0;
    for (int k = 0; k < i; k++) pieces += heads[k].pieces(Width / 8);
    return pieces;
  }
  cuda::Temporary<uint4> held_;
  const uint4* at_[N];
};
template <int Width, class Layout, int N> RoundedHeads<Width, Layout, N> rounded_heads(Stream& stream, size_t width, Layout layout, const WideHeads (&heads)[N]) {
  return {stream, width, layout, heads};
}

}  // namespace g2rpo::attention
