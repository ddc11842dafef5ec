// Matrix products in f32 and f64 without tensor cores: blocks of 256 threads with a square of C each, operands in shared memory, the next ones
// on their way meanwhile. Where C has too few squares for the device, k is cut into fixed parts whose products are added in order.
#pragma once
#include "vectors.h"

namespace g2rpo::cuda {

/** C = A·B (+ bias) (+ residual), or C += A·B. An operand lies along k (its neighbours in memory are those in k) or across. */
template <class T, class W = T> struct Product {
  size_t m, n, k;
  const T* a;
  const W* b;
  bool a_along, b_along;        // A is [m, k] or [k, m], B is [n, k] or [k, n]
  T* c;                         // [m, n]
  const T* bias = nullptr;      // [n] or null
  const T* residual = nullptr;  // [m, n] or null; may be c
  bool accumulate = false;
};

/** A square of C and how much of k is in shared memory at a time; a thread has `per` × `per` of it. */
template <class T> struct Square;
template <> struct Square<float> {
  static constexpr int side = 128, depth = 8, per = 8;
};
template <> struct Square<double> {
  static constexpr int side = 64, depth = 8, per = 4;
};

/** What a thread brings of a tile [depth][side] of an operand, whose elements are of type E. */
template <class T, class E, bool Along> struct Bringer {
  static constexpr int side = Square<T>::side, depth = Square<T>::depth, count = kWide<T>, stride = side + count;
  static_assert(side * depth == 256 * count);
  int place, step;  // across k, along k: of the first element
  bool whole;       // all of it can be loaded at once
  T held[count];

  __device__ Bringer(int thread, const E* data, size_t leading)
      : place(Along ? thread / (depth / count) : thread % (side / count) * count),
        step(Along ? thread % (depth / count) * count : thread / (side / count)),
        whole(leading % count == 0 && aligned(data)) {}

  /** Of the tile whose first element is (across, along); zeros beyond the ends. */
  __device__ void load(const E* data, size_t leading, size_t across, size_t along, size_t across_end, size_t along_end) {
    const size_t p = across + static_cast<size_t>(place), s = along + static_cast<size_t>(step);
    const E* at = data + (Along ? p * leading + s : s * leading + p);
    const bool inside = Along ? p < across_end && s + count <= along_end : s < along_end && p + count <= across_end;
    if (inside && whole) {
      const auto pack = cuda::load<count>(at);
      for (int i = 0; i < count; i++) held[i] = widened(pack.x[i]);
      return;
    }
    for (int i = 0; i < count; i++) {
      const auto by = static_cast<size_t>(i);
      held[i] = (Along ? p < across_end && s + by < along_end : s < along_end && p + by < across_end) ? widened(at[i]) : T(0);
    }
  }

  __device__ void store(T (*tile)[stride]) const {
    for (int i = 0; i < count; i++) tile[Along ? step + i : step][Along ? place : place + i] = held[i];
  }
};

/** The square that a block computes: its neighbours in order share rows of A and columns of B in the second-level cache. */
__device__ inline void square_of(size_t block, size_t rows, size_t columns, size_t& row, size_t& column) {
  constexpr size_t group = 8;
  const size_t first = block / (group * columns) * group, height = rows - first < group ? rows - first : group;
  const size_t within = block % (group * columns);
  row = first + within % height;
  column = within / height;
}

template <class T, class W> __device__ void put(const Product<T, W>& p, size_t row, size_t column, T value) {
  const size_t at = row * p.n + column;
  if (p.bias) value += p.bias[column];
  if (p.residual) value += p.residual[at];
  p.c[at] = p.accumulate ? p.c[at] + value : value;
}

/** By 256 threads: the square of A·B that begins at (row, column), summed over [begin, end) of k; then done(row, column, sum) for what C has of it. */
template <bool AAlong, bool BAlong, class T, class W, class F>
__device__ void multiply_square(const Product<T, W>& p, size_t row, size_t column, size_t begin, size_t end, F&& done) {
  using S = Square<T>;
  constexpr int side = S::side, depth = S::depth, per = S::per, half = per / 2, across = side / per;
  using A = Bringer<T, T, AAlong>;
  using B = Bringer<T, W, BAlong>;
  __shared__ T as[2][depth][A::stride];
  __shared__ T bs[2][depth][B::stride];
  const int thread = static_cast<int>(threadIdx.x), x = thread % across, y = thread / across;
  const size_t a_leading = AAlong ? p.k : p.m, b_leading = BAlong ? p.k : p.n;
  A a(thread, p.a, a_leading);
  B b(thread, p.b, b_leading);
  T sum[per][per] = {};
  a.load(p.a, a_leading, row, begin, p.m, end);
  b.load(p.b, b_leading, column, begin, p.n, end);
  a.store(as[0]), b.store(bs[0]);
  __syncthreads();
  int now = 0;
  for (size_t at = begin; at < end; at += depth) {
    const bool more = at + depth < end;
    if (more) {
      a.load(p.a, a_leading, row, at + depth, p.m, end);
      b.load(p.b, b_leading, column, at + depth, p.n, end);
    }
#pragma unroll
    for (int d = 0; d < depth; d++) {
      T u[per], v[per];
      for (int i = 0; i < half; i++) {
        u[i] = as[now][d][y * half + i], u[half + i] = as[now][d][side / 2 + y * half + i];
        v[i] = bs[now][d][x * half + i], v[half + i] = bs[now][d][side / 2 + x * half + i];
      }
      for (int i = 0; i < per; i++)
        for (int j = 0; j < per; j++) sum[i][j] = fma(u[i], v[j], sum[i][j]);
    }
    if (more) a.store(as[1 - now]), b.store(bs[1 - now]);
    __syncthreads();
    now = 1 - now;
  }
#pragma unroll
  for (int i = 0; i < per; i++)
#pragma unroll
    for (int j = 0; j < per; j++) {
      const size_t r = row + static_cast<size_t>(i < half ? y * half + i : side / 2 + y * half + i - half);
      const size_t c = column + static_cast<size_t>(j < half ? x * half + j : side / 2 + x * half + j - half);
      if (r < p.m && c < p.n) done(r, c, sum[i][j]);
    }
}

/** gridDim.y parts of k, `part` long each; more than one: they are left in `partials` [parts, m, n]. */
template <class T, bool AAlong, bool BAlong>
__global__ void __launch_bounds__(256) multiply(Product<T> p, size_t part, T* partials) {
  constexpr size_t side = Square<T>::side;
  size_t row, column;
  square_of(blockIdx.x, (p.m + side - 1) / side, (p.n + side - 1) / side, row, column);
  const size_t begin = blockIdx.y * part, end = begin + part < p.k ? begin + part : p.k;
  multiply_square<AAlong, BAlong>(p, row * side, column * side, begin, end, [&](size_t r, size_t c, T sum) {
    if (gridDim.y > 1) partials[(blockIdx.y * p.m + r) * p.n + c] = sum;
    else put(p, r, c, sum);
  });
}

template <class T> __global__ void add_parts(Product<T> p, size_t parts, const T* partials) {
  const size_t i = global_index();
  if (i >= p.m * p.n) return;
  T sum = 0;
  for (size_t s = 0; s < parts; s++) sum += partials[s * p.m * p.n + i];
  put(p, i / p.n, i % p.n, sum);
}

constexpr size_t kFewRows = 8;

/** At most kFewRows rows times a matrix that lies along k: a warp to a column of C, so that the matrix is read once. */
template <class T> __global__ void __launch_bounds__(256) multiply_few(Product<T> p) {
  const size_t column = global_index() / 32, lane = threadIdx.x % 32;
  if (column >= p.n) return;
  const T* b = p.b + column * p.k;
  constexpr size_t wide = kWide<T>;
  T sum[kFewRows] = {};
  const bool whole = p.k % wide == 0 && aligned(p.a, p.b);
  if (whole) {
    for (size_t i = lane * wide; i < p.k; i += 32 * wide) {
      const auto w = load<wide>(b + i);
      for (size_t r = 0; r < kFewRows; r++) {
        if (r >= p.m) break;
        const auto v = load<wide>(p.a + r * p.k + i);
        for (size_t j = 0; j < wide; j++) sum[r] = fma(v.x[j], w.x[j], sum[r]);
      }
    }
  } else {
    for (size_t i = lane; i < p.k; i += 32)
      for (size_t r = 0; r < kFewRows; r++)
        if (r < p.m) sum[r] = fma(p.a[r * p.k + i], b[i], sum[r]);
  }
  for (size_t r = 0; r < kFewRows; r++) {
    if (r >= p.m) break;
    const T all = warp_sum(sum[r]);
    if (lane == 0) put(p, r, column, all);
  }
}

/** Into how many parts k is cut: it follows from the shape alone, and so do the bits. */
inline size_t parts_of(size_t squares, size_t k) {
  constexpr size_t enough = 256, shortest = 1024;
  if (squares >= enough / 2 || k < 2 * shortest) return 1;
  const size_t wanted = (enough + squares - 1) / squares, possible = k / shortest;
  return wanted < possible ? wanted : possible;
}
template <class T> size_t parts_of(const Product<T>& p) {
  constexpr size_t side = Square<T>::side;
  return parts_of(((p.m + side - 1) / side) * ((p.n + side - 1) / side), p.k);
}

template <class T> void multiply(Stream& stream, const Product<T>& p) {
  if (p.m == 0 || p.n == 0) return;
  if (p.m <= kFewRows && p.a_along && p.b_along)
    return launch(stream, multiply_few<T>, blocks_for(p.n, 8), 256u, p);
  constexpr size_t side = Square<T>::side, depth = Square<T>::depth;
  const size_t parts = parts_of(p), part = ((p.k + parts - 1) / parts + depth - 1) / depth * depth;
  const dim3 grid(static_cast<unsigned>(((p.m + side - 1) / side) * ((p.n + side - 1) / side)), static_cast<unsigned>(parts));
  Temporary<T> partials(stream, parts > 1 ? parts * p.m * p.n : 0);
  const auto kernel = p.a_along ? (p.b_along ? multiply<T, true, true> : multiply<T, true, false>)
                                : (p.b_along ? multiply<T, false, true> : multiply<T, false, false>);
  launch(stream, kernel, grid, 256u, p, part, partials.get());
  if (parts > 1) launch(stream, add_parts<T>, blocks_for(p.m * p.n), kThreads, p, parts, partials.get());
}

}  // namespace g2rpo::cuda
