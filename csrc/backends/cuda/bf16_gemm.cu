#include "bf16_gemm.h"

#include "blas.h"
#include "tensor_pipeline.cuh"

namespace g2rpo::cuda {

namespace {

/** W elements to a thread. */
template <int W> __global__ void round_packs(const float* from, size_t count, bf16* to) {
  const size_t i = global_index() * W;
  if (i >= count) return;
  if constexpr (W == 1) {
    to[i].bits = static_cast<uint16_t>(pack_bf16(from[i], 0));
  } else {
    const auto low = load<4>(from + i), high = load<4>(from + i + 4);
    *reinterpret_cast<uint4*>(to + i) = {pack_bf16(low.x[0], low.x[1]), pack_bf16(low.x[2], low.x[3]), pack_bf16(high.x[0], high.x[1]), pack_bf16(high.x[2], high.x[3])};
  }
}

/** Eight neighbours as f32. */
template <class A> __device__ void widen_eight(const A* from, float (&to)[8]) {
  constexpr int wide = kWide<A>;
#pragma unroll
  for (int i = 0; i < 8; i += wide) {
    const auto pack = load<wide>(from + i);
#pragma unroll
    for (int e = 0; e < wide; e++) to[i + e] = widened(pack.x[e]);
  }
}

constexpr int kFewColumns = 2;

/** A warp to two columns of C, so that what it reads of A serves both. Rows ≥ m. */
template <class A, int Rows> __global__ void __launch_bounds__(256) multiply_few_narrow(TensorProduct<A, bf16> p, bool whole) {
  constexpr int Columns = kFewColumns;
  const size_t first = global_index() / 32 * Columns, lane = threadIdx.x % 32;
  if (first >= p.n) return;
  // what is beyond an end is computed from the last and never written
  const A* a[Rows];
  const bf16* b[Columns];
#pragma unroll
  for (size_t r = 0; r < Rows; r++) a[r] = p.a + (r < p.m ? r : p.m - 1) * p.k;
#pragma unroll
  for (size_t c = 0; c < Columns; c++) b[c] = p.b + (first + c < p.n ? first + c : p.n - 1) * p.k;
  float sum[Rows][Columns] = {};
  if (whole) {
    constexpr int ahead = 2;  // packs of a column on their way at a time
    for (size_t at = lane * 8; at < p.k; at += ahead * 256) {
      Pack<bf16, 8> w[ahead][Columns] = {};
#pragma unroll
      for (int h = 0; h < ahead; h++)
#pragma unroll
        for (int c = 0; c < Columns; c++)
          if (at + h * 256 < p.k) w[h][c] = load<8>(b[c] + at + h * 256);
#pragma unroll
      for (int h = 0; h < ahead; h++) {
        if (at + h * 256 >= p.k) break;
#pragma unroll
        for (int r = 0; r < Rows; r++) {
          float v[8];
          widen_eight(a[r] + at + h * 256, v);
#pragma unroll
          for (int c = 0; c < Columns; c++)
#pragma unroll
            for (int e = 0; e < 8; e++) sum[r][c] = fma(v[e], widened(w[h][c].x[e]), sum[r][c]);
        }
      }
    }
  } else {
    for (size_t at = lane; at < p.k; at += 32)
#pragma unroll
      for (int r = 0; r < Rows; r++)
#pragma unroll
        for (int c = 0; c < Columns; c++) sum[r][c] = fma(widened(a[r][at]), widened(b[c][at]), sum[r][c]);
  }
  const auto written = p.written();
#pragma unroll
  for (int r = 0; r < Rows; r++)
#pragma unroll
    for (int c = 0; c < Columns; c++) {
      const float all = warp_sum(sum[r][c]);
      if (lane == r * Columns + c && r < p.m && first + c < p.n) put(written, r, first + c, all);
    }
}

template <class A> void multiply_few(Stream& stream, const TensorProduct<A, bf16>& p) {
  const auto kernel = p.m == 1 ? multiply_few_narrow<A, 1> : p.m == 2 ? multiply_few_narrow<A, 2> : p.m <= 4 ? multiply_few_narrow<A, 4> : multiply_few_narrow<A, kFewRows>;
  launch(stream, kernel, blocks_for(p.n, 8 * kFewColumns), 256u, p, p.k % 8 == 0 && aligned(p.a, p.b));
}

/** Of operands in bf16. */
template <class A, class B> BlasProduct by_blas(const TensorProduct<A, B>& p) {
  BlasProduct product{DType::bf16, p.m, p.n, p.k, p.a, p.b, p.a_along, p.b_along, p.c};
  if (p.narrow_c) product.c = p.narrow_c, product.c_type = DType::bf16;
  product.bias = p.bias, product.added = p.accumulate ? p.c : p.residual;
  return product;
}

/** An operand as bf16: itself, or a copy that lives for the launch. */
template <class T> struct Narrow {
  Narrow(Stream& stream, const T* from, size_t count) : held(stream, count) { round_elements(stream, from, count, held.get()); }
  const bf16* get() const { return held.get(); }
  Temporary<bf16> held;
};
template <> struct Narrow<bf16> {
  Narrow(Stream&, const bf16* from, size_t) : from(from) {}
  const bf16* get() const { return from; }
  const bf16* from;
};

}  // namespace

void round_elements(Stream& stream, const float* from, size_t count, bf16* to) {
  if (count == 0) return;
  if (count % 8 == 0 && aligned(from, to)) launch(stream, round_packs<8>, blocks_for(count / 8), kThreads, from, count, to);
  else launch(stream, round_packs<1>, blocks_for(count), kThreads, from, count, to);
}

template <class A, class B> void multiply(Stream& stream, const TensorProduct<A, B>& p) {
  if (p.m == 0 || p.n == 0) return;
  const bool few = std::is_same_v<B, bf16> && p.m <= kFewRows && p.a_along && p.b_along, whole = by_blas(p).whole() && p.k > 0;
  if (p.narrow_c && (few || !whole || !has_blas(stream))) {
    const Temporary<float> c(stream, p.m * p.n);
    TensorProduct<A, B> wide = p;
    wide.c = c.get(), wide.narrow_c = nullptr;
    multiply(stream, wide);
    return round_elements(stream, c.get(), p.m * p.n, p.narrow_c);
  }
  if constexpr (std::is_same_v<B, bf16>)
    if (few) return multiply_few(stream, p);
  if (!whole) return tensor_multiply(stream, p);
  const Narrow<A> a(stream, p.a, p.m * p.k);
  const Narrow<B> b(stream, p.b, p.n * p.k);
  const TensorProduct<bf16, bf16> narrow{p.m, p.n, p.k, a.get(), b.get(), p.a_along, p.b_along, p.c, p.bias, p.residual, p.accumulate, p.narrow_c};
  if (has_blas(stream)) multiply_by_blas(stream, by_blas(narrow));
  else multiply_pipelined(stream, narrow);
}
template void multiply(Stream&, const TensorProduct<float, bf16>&);
template void multiply(Stream&, const TensorProduct<float, float>&);
template void multiply(Stream&, const TensorProduct<bf16, bf16>&);

}  // namespace g2rpo::cuda
