// Matrix products on tensor cores: operands of f32 or bf16 are rounded to bf16 on their way into shared memory, sums are f32. Blocks of eight warps
// with 128 × 128 of C, a warp 64 × 32; the next tiles are on their way meanwhile. k is cut into parts as by gemm.cuh.
#pragma once
#include <tensor_core.cuh>

#include "gemm.cuh"

namespace g2rpo::cuda {

/** As Product, with operands of their own types, f32 or bf16. */
template <class A, class B> struct TensorProduct {
  size_t m, n, k;
  const A* a;
  const B* b;
  bool a_along, b_along;
  float* c;
  const float *bias = nullptr, *residual = nullptr;
  bool accumulate = false;
  bf16* narrow_c = nullptr;  // C rounded, in its place: of a product to which nothing is added (bf16_gemm.h)

  __host__ __device__ Product<float> written() const { return {m, n, k, nullptr, nullptr, a_along, b_along, c, bias, residual, accumulate}; }
};

/** Where the sums of a block go, two neighbours at a time: into C, or as one of several parts of k into memory of its own. */
class Written {
 public:
  __device__ Written(Product<float> p, float* partials) : p_(p) {
    if (partials) p_.c = partials + blockIdx.y * p.m * p.n, p_.bias = p_.residual = nullptr, p_.accumulate = false;
    wide_ = p_.n % 2 == 0 && aligned(p_.c, p_.residual);
  }
  __device__ void put(size_t row, size_t column, float first, float second) const {
    if (row >= p_.m || column >= p_.n) return;
    if (!wide_) {
      cuda::put(p_, row, column, first);
      if (column + 1 < p_.n) cuda::put(p_, row, column + 1, second);
      return;
    }
    const size_t at = row * p_.n + column;
    Pack<float, 2> sums{first, second};
    const auto add = [&](const float* x) {
      const auto pack = load<2>(x);
      sums.x[0] += pack.x[0], sums.x[1] += pack.x[1];
    };
    if (p_.bias) sums.x[0] += p_.bias[column], sums.x[1] += p_.bias[column + 1];
    if (p_.residual) add(p_.residual + at);
    if (p_.accumulate) add(p_.c + at);
    store<2>(p_.c + at, sums);
  }

 private:
  Product<float> p_;
  bool wide_;
};

struct TensorTile {
  static constexpr int side = 128, depth = 32;
  static constexpr int along = depth + 8, across = side + 8;  // elements from one row to the next: rows of eight begin in different banks
  static constexpr int elements = side * along > depth * across ? side * along : depth * across;
};

/** What a thread brings of a tile, 16 elements in two runs of eight, as pairs of bf16 in the end. */
template <class T, bool Along> struct TensorBringer {
  static constexpr int per_row = (Along ? TensorTile::depth : TensorTile::side) / 8;
  int row[2], column;  // of the tile as it lies in memory
  bool whole;
  T held[2][8];

  __device__ TensorBringer(int thread, const T* data, size_t leading)
      : row{thread / per_row, thread / per_row + 256 / per_row}, column(thread % per_row * 8),
        whole(leading % 8 == 0 && aligned(data)) {}

  __device__ void load(const T* data, size_t leading, size_t across, size_t along, size_t across_end, size_t along_end) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const size_t i = (Along ? across : along) + static_cast<size_t>(row[r]), j = (Along ? along : across) + static_cast<size_t>(column);
      const size_t rows = Along ? across_end : along_end, columns = Along ? along_end : across_end;
      const T* at = data + i * leading + j;
      if (i < rows && j + 8 <= columns && whole) {
        constexpr int wide = kWide<T>;
#pragma unroll
        for (int p = 0; p < 8; p += wide) {
          const auto pack = cuda::load<wide>(at + p);
#pragma unroll
          for (int e = 0; e < wide; e++) held[r][p + e] = pack.x[e];
        }
        continue;
      }
#pragma unroll
      for (int e = 0; e < 8; e++) held[r][e] = i < rows && j + static_cast<size_t>(e) < columns ? at[e] : T{};
    }
  }

  __device__ static uint32_t pair(float low, float high) { return pack_bf16(low, high); }
  template <class H> __device__ static uint32_t pair(H low, H high) { return low.bits | static_cast<uint32_t>(high.bits) << 16; }

  __device__ void store(uint16_t* tile) const {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      uint4 packed;
      packed.x = pair(held[r][0], held[r][1]), packed.y = pair(held[r][2], held[r][3]);
      packed.z = pair(held[r][4], held[r][5]), packed.w = pair(held[r][6], held[r][7]);
      *reinterpret_cast<uint4*>(tile + row[r] * (Along ? TensorTile::along : TensorTile::across) + column) = packed;
    }
  }
};

template <class A, class B, bool AAlong, bool BAlong>
__global__ void __launch_bounds__(256) tensor_multiply(TensorProduct<A, B> p, size_t part, float* partials) {
  using S = TensorTile;
  __shared__ uint4 as[2][S::elements / 8], bs[2][S::elements / 8];
  size_t row, column;
  square_of(blockIdx.x, (p.m + S::side - 1) / S::side, (p.n + S::side - 1) / S::side, row, column);
  row *= S::side, column *= S::side;
  const size_t begin = blockIdx.y * part, end = begin + part < p.k ? begin + part : p.k;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, y = warp / 4 * 64, x = warp % 4 * 32;
  const size_t a_leading = AAlong ? p.k : p.m, b_leading = BAlong ? p.k : p.n;
  TensorBringer<A, AAlong> a(thread, p.a, a_leading);
  TensorBringer<B, BAlong> b(thread, p.b, b_leading);
  float sum[4][4][4] = {};
  a.load(p.a, a_leading, row, begin, p.m, end);
  b.load(p.b, b_leading, column, begin, p.n, end);
  a.store(reinterpret_cast<uint16_t*>(as[0])), b.store(reinterpret_cast<uint16_t*>(bs[0]));
  __syncthreads();
  int now = 0;
  // lanes of eight name the rows of one square: which one of four, and which row of it
  const int square = lane / 8, line = lane % 8;
  for (size_t at = begin; at < end; at += S::depth) {
    const bool more = at + S::depth < end;
    if (more) {
      a.load(p.a, a_leading, row, at + S::depth, p.m, end);
      b.load(p.b, b_leading, column, at + S::depth, p.n, end);
    }
    const auto *left = reinterpret_cast<const uint16_t*>(as[now]), *right = reinterpret_cast<const uint16_t*>(bs[now]);
#pragma unroll
    for (int d = 0; d < S::depth; d += 16) {
      uint32_t u[4][4], v[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {  // squares: rows, rows + 8, the same further along k
        const int r = y + 16 * i + square % 2 * 8, k = d + square / 2 * 8;
        if (AAlong) load_squares(left + (r + line) * S::along + k, u[i]);
        else load_squares_transposed(left + (k + line) * S::across + r, u[i]);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {  // squares: columns, further along k, columns + 8, further along k
        const int c = x + 16 * j + square / 2 * 8, k = d + square % 2 * 8;
        if (BAlong) load_squares(right + (c + line) * S::along + k, v[j]);
        else load_squares_transposed(right + (k + line) * S::across + c, v[j]);
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) multiply_squares(u[i], v[j / 2][j % 2 * 2], v[j / 2][j % 2 * 2 + 1], sum[i][j]);
    }
    if (more) a.store(reinterpret_cast<uint16_t*>(as[1 - now])), b.store(reinterpret_cast<uint16_t*>(bs[1 - now]));
    __syncthreads();
    now = 1 - now;
  }
  const Written to(p.written(), gridDim.y > 1 ? partials : nullptr);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e += 2)
        to.put(row + static_cast<size_t>(y + 16 * i + lane / 4 + e / 2 * 8), column + static_cast<size_t>(x + 8 * j + lane % 4 * 2), sum[i][j][e], sum[i][j][e + 1]);
}

template <class A, class B> void tensor_multiply(Stream& stream, const TensorProduct<A, B>& p) {
  if (p.m == 0 || p.n == 0) return;
  using S = TensorTile;
  const auto written = p.written();
  const size_t parts = parts_of(written), part = ((p.k + parts - 1) / parts + S::depth - 1) / S::depth * S::depth;
  const dim3 grid(static_cast<unsigned>(((p.m + S::side - 1) / S::side) * ((p.n + S::side - 1) / S::side)), static_cast<unsigned>(parts));
  Temporary<float> partials(stream, parts > 1 ? parts * p.m * p.n : 0);
  const auto kernel = p.a_along ? (p.b_along ? tensor_multiply<A, B, true, true> : tensor_multiply<A, B, true, false>)
                                : (p.b_along ? tensor_multiply<A, B, false, true> : tensor_multiply<A, B, false, false>);
  launch(stream, kernel, grid, 256u, p, part, partials.get());
  if (parts > 1) launch(stream, add_parts<float>, blocks_for(p.m * p.n), kThreads, written, parts, partials.get());
}

}  // namespace g2rpo::cuda
