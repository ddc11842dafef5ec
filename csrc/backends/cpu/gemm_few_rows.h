// Products of few rows, for which packing B would cost more than the product. Hot files only.
#pragma once
#include "../../core/arena.h"
#include "gemm_pack.h"

namespace g2rpo {

namespace {

constexpr size_t kFewRows = 8;  // up to which B is not packed if its columns lie along memory

/**
 * A product of few rows where they and B's columns lie along memory: a vector's worth of columns is transposed in registers and used
 * at once, since packing would cost more than the product. The chains of multiply-adds are those of the micro-kernel.
 */
template <int R, class E, class T, class W, class A> void few_rows(const Gemm<T, W, A>& op, const E* a, size_t chunk, size_t j, size_t k0) {
  constexpr size_t L = lanes<E>;
  const size_t cols = least(L, op.n - j);
  Vec<T> acc[R][1] = {};
  {
    const simd::Denormals<E> denormals;
    each_columns<E>(op.b.data + j * op.b_col + k0, op.b_col, least(chunk, op.k - k0), cols, op.b.data + (j + L) * op.b_col + L * k0, [&](size_t k, const auto& x, size_t m) G2_INLINED {
      const E* at = a + k / deep<E>;
      const auto step = [&](size_t l) G2_INLINED {
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) acc[i][0] = simd::fma(splat(at[i * kRowStride<E> + l]), x[l], acc[i][0]);
      };
      if (m == x.depth) {
#pragma GCC unroll 32
        for (size_t l = 0; l < x.count; l++) step(l);
      } else {
#pragma GCC unroll 32
        for (size_t l = 0; l < x.count; l++) {
          if (l >= elements_of<E>(m)) break;
          step(l);
        }
      }
    });
  }
  finish(acc, block_of(op, 0, j, op.m, cols, k0 == 0));
}

/** Few rows of A: chunk by chunk of k, rows kRowStride apart. */
template <class E, class T> const E* pack_few(const T* a, size_t row, size_t rows, size_t k, size_t chunk, Scratch& scratch) {
  constexpr size_t stride = kFewRows * kRowStride<E>;
  E* packed = scratch.take<E>(ceil_div(k, chunk) * stride);
  for (size_t at = 0, c = 0; at < k; at += chunk, c++)
    for (size_t i = 0; i < rows; i++) pack_row(a + i * row + at, least(chunk, k - at), packed + c * stride + i * kRowStride<E>);
  return packed;
}

/** All rows of a vector's worth of columns. */
template <class E, class T, class W, class A> void few_rows_of(const Gemm<T, W, A>& op, const E* a, size_t chunk, size_t j) {
  for (size_t k0 = 0; k0 < op.k || k0 == 0; k0 += chunk, a += kFewRows * kRowStride<E>) {
    if (op.m == 1) few_rows<1>(op, a, chunk, j, k0);
    else if (op.m == 2) few_rows<2>(op, a, chunk, j, k0);
    else if (op.m <= 4) few_rows<4>(op, a, chunk, j, k0);
    else few_rows<8>(op, a, chunk, j, k0);
  }
}

}  // namespace

}  // namespace g2rpo
