// The micro-kernel of GEMM: a block of C that is kept in registers over a chunk of k, and what is added to it. Elements E of A and B are
// reals, or pairs of bf16 numbers along k (pairs.h). Hot files only.
#pragma once
#include "columns.h"
#include "gemm.h"

namespace g2rpo {

namespace {

using simd::deep;
using simd::each_columns;
using simd::lanes;
using simd::load;
using simd::load_n;
using simd::splat;
using simd::store;
using simd::store_n;
using simd::Sum;
using simd::Vec;

// the micro-kernel's block of C: rows × vectors, as many accumulators as leave registers for a row of B and an element of A
#if defined(__AVX512F__)
constexpr int kRows = 9, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kRows = 8, kVectors = 3;
#else
constexpr int kRows = 4, kVectors = 2;
#endif
template <class E> constexpr size_t kCols = size_t{kVectors} * lanes<E>;

/** Elements of the longest chunk of k: a panel of B stays in the first-level cache, of 32 KB on the first processors that multiply pairs. */
template <class E> constexpr size_t kDepth = deep<E> == 1 ? 192 : 128;
template <class E> constexpr size_t kRowStride = kDepth<E> + 16;  // of packed rows of A: they do not meet in a cache set

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
G2_INLINE size_t most(size_t a, size_t b) { return a > b ? a : b; }
G2_INLINE size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
G2_INLINE size_t round_up(size_t a, size_t b) { return ceil_div(a, b) * b; }
/** Elements that hold so many numbers along k. */
template <class E> G2_INLINE size_t elements_of(size_t depth) { return ceil_div(depth, deep<E>); }

/**
 * What a micro-kernel fetches into the second-level cache on its way. Steps are bytes. By columns: a line of A and one of B for every
 * number along k, of the next chunk; by rows: rows of A that are read next, as deep as these, and for every element along k `b_lines` of B, one behind the other.
 */
struct NextChunk {
  const char* a;
  size_t a_step;
  const char* b;
  size_t b_step;
  size_t a_bytes;  // of the numbers of an element of A
  size_t b_lines;
};

/** Where a block of C goes and what is added to it. */
template <class T> struct Block {
  T* c;
  size_t c_row;
  size_t rows, cols;
  bool add;           // to what C holds
  const T* bias;      // or null
  const T* residual;  // or null
};

/** Adds what there is to add and stores the rows and columns that C has. */
template <class T, int R, int V> G2_INLINE void finish(const Vec<T> (&acc)[R][V], const Block<T>& out) {
  constexpr size_t L = lanes<T>;
  const bool full = out.cols == V * L;
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
    if (static_cast<size_t>(i) >= out.rows) break;
    T* c = out.c + i * out.c_row;
    const T* residual = out.residual ? out.residual + i * out.c_row : nullptr;
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      Vec<T> y = acc[i][v];
      const size_t at = v * L;
      if (full) {
        if (out.add) y += load<T>(c + at);
        if (out.bias) y += load<T>(out.bias + at);
        if (residual) y += load<T>(residual + at);
        store(c + at, y);
      } else if (at < out.cols) {
        const size_t n = least(L, out.cols - at);
        if (out.add) y += load_n<T>(c + at, n);
        if (out.bias) y += load_n<T>(out.bias + at, n);
        if (residual) y += load_n<T>(residual + at, n);
        store_n(c + at, y, n);
      }
    }
  }
}

/**
 * A block of C of at most R rows and V vectors, from `depth` elements along k. Of A rows lie next to each other and columns a_step apart
 * (ByColumn), or columns next to each other and rows a_step apart.
 */
template <class E, int R, int V, bool ByColumn>
void micro_kernel(const E* a, size_t a_step, const E* b, size_t depth, NextChunk next, const Block<Sum<E>>& out) {
  using T = Sum<E>;
  constexpr size_t L = lanes<E>;
  const size_t within_line = 64 / next.a_bytes - 1;
  if (out.add)  // C is on its way while the sums are made
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) __builtin_prefetch(out.c + i * out.c_row + v * L, 1);
  Vec<T> acc[R][V] = {};
  {
    const simd::Denormals<E> denormals;
    for (size_t k = 0; k < depth; k++) {
      Vec<E> row[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) row[v] = load<E>(b + v * L);
      if (ByColumn) {  // what comes may lie in another page, where no hardware looks ahead
        __builtin_prefetch(a + 12 * a_step);
#pragma GCC unroll 2
        for (size_t d = 0; d < deep<E>; d++) {
          __builtin_prefetch(next.a, 0, 2);
          __builtin_prefetch(next.b, 0, 2);
          next.a += next.a_step;
          next.b += next.b_step;
        }
      } else if ((k & within_line) == 0) {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++) __builtin_prefetch(next.a + i * next.a_step + k * next.a_bytes, 0, 2);
      }
      if (!ByColumn)
        for (size_t l = 0; l < next.b_lines; l++, next.b += 64) __builtin_prefetch(next.b, 0, 2);
#pragma GCC unroll 16
      for (int i = 0; i < R; i++) {
        const Vec<E> x = splat(a[ByColumn ? i : i * a_step]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = simd::fma(x, row[v], acc[i][v]);
      }
      a += ByColumn ? a_step : 1;
      b += kCols<E>;
    }
  }
  finish(acc, out);
}

/** The smallest micro-kernel that covers the block; heights go by two. */
template <class E, bool ByColumn, int V = kVectors, int R = kRows>
G2_INLINE void compute_block(const E* a, size_t a_step, const E* b, size_t depth, const NextChunk& next, const Block<Sum<E>>& out) {
  if constexpr (V > 1 && R == kRows)
    if (out.cols <= (V - 1) * size_t{lanes<E>}) return compute_block<E, ByColumn, V - 1, R>(a, a_step, b, depth, next, out);
  if constexpr (R > 2)
    if (out.rows <= R - 2) return compute_block<E, ByColumn, V, R - 2>(a, a_step, b, depth, next, out);
  micro_kernel<E, R, V, ByColumn>(a, a_step, b, depth, next, out);
}

/** What is added to a block of C that starts at row i and column j, by the chunk that comes first or by a later one. */
template <class T, class W, class A>
G2_INLINE Block<T> block_of(const Gemm<T, W, A>& op, size_t i, size_t j, size_t rows, size_t cols, bool first) {
  const size_t at = i * op.c_row + j;
  return {op.c.data + at, op.c_row, rows, cols, op.accumulate || !first, first && op.bias ? op.bias + j : nullptr,
          first && op.residual ? op.residual + at : nullptr};
}

}  // namespace

}  // namespace g2rpo
