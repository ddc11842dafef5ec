// Columns that lie along memory, transposed in registers: for products of matrices that are kept by output. Hot files only.
#pragma once
#include "lanes.h"
#include "pairs.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** a₀ b₀ a₁ b₁ …: the lower (half 0) or the upper (half 1) part of two vectors, element by element. */
template <class T> G2_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, int half) {
  constexpr int L = lanes<T>;
  Mask<T> order;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) order[i] = half * (L / 2) + i / 2 + (i % 2) * L;
  return __builtin_shuffle(a, b, order);
}

/** Transposes as many vectors as a vector has lanes. */
template <class T> G2_INLINE void transpose(Vec<T>* x) {
  constexpr int L = lanes<T>;
  Vec<T> y[L];
#pragma GCC unroll 4
  for (int step = 1; step < L; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; i++) {
      y[2 * i] = interleave<T>(x[i], x[i + L / 2], 0);
      y[2 * i + 1] = interleave<T>(x[i], x[i + L / 2], 1);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) x[i] = y[i];
  }
}

/**
 * Up to as many columns of B as a vector has lanes, side by side; their elements are neighbours in memory. Of bf16 a lane holds two
 * numbers of its column, so that half as many shuffles do; of pairs too, which are rounded before.
 */
template <class E, class W> struct Columns {
  using T = Sum<E>;
  static constexpr size_t L = lanes<E>;
  static constexpr size_t depth = __is_same(E, W) ? L : 2 * L;  // numbers of a column that a vector holds
  static constexpr size_t count = depth / deep<E>;              // elements
  Vec<T> x[L];

  G2_INLINE Columns(const W* b, size_t col) {
    for (size_t i = 0; i < L; i += 4, b += 4 * col) {
      x[i] = whole(b);
      if (L > 1) x[i + 1] = whole(b + col);
      if (L > 2) x[i + 2] = whole(b + 2 * col);
      if (L > 2) x[i + 3] = whole(b + 3 * col);
    }
    transpose<T>(x);
  }
  /** Element e of every column. */
  G2_INLINE Vec<E> operator[](size_t e) const {
    if constexpr (__is_same(E, W)) return x[e];
    else if constexpr (__is_same(E, Pair)) return (Vec<E>)x[e];
    else return e % 2 ? second_of_pairs((Words)x[e / 2]) : first_of_pairs((Words)x[e / 2]);
  }

 private:
  static G2_INLINE Vec<T> whole(const W* p) {
    if constexpr (__is_same(W, bf16) && deep<E> == 1) return (Vec<T>)load_words(p);
    else return (Vec<T>)along<E>(p);
  }
};

/** Columns at the edge of B: n of them, m elements each, with zeros up to what Columns reads. */
template <class E, class W> static __attribute__((noinline)) void copy_edge(const W* b, size_t col, size_t n, size_t m, W* to) {
  constexpr size_t L = lanes<E>, D = Columns<E, W>::depth;
  for (size_t i = 0; i < L; i++)
    for (size_t k = 0; k < D; k++) to[i * D + k] = i < n && k < m ? b[i * col + k] : W{};
}

/** body(k, x, m) where x holds, of n ≤ L columns of B, m numbers from k on; for all `depth` of them, in order. */
template <class E, class W, class F> G2_INLINE void each_columns(const W* b, size_t col, size_t depth, size_t n, F&& body) {
  constexpr size_t L = lanes<E>, D = Columns<E, W>::depth;
  alignas(64) W edge[L * D];
  for (size_t k = 0; k < depth; k += D) {
    const size_t m = (depth - k < D ? depth - k : D);
    const W* next = b + L * col + k;  // the next columns
    for (size_t i = 0; i < L; i++, next += col) __builtin_prefetch(next, 0, 2);
    const bool whole = n == L && m == D;
    if (!whole) copy_edge<E>(b + k, col, n, m, edge);
    body(k, Columns<E, W>(whole ? b + k : edge, whole ? col : D), m);
  }
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
