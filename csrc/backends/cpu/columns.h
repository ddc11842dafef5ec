// Columns that lie along memory, transposed in registers: for products of matrices that are kept by output. Hot files only.
#pragma once
#include "lanes.h"
#include "pairs.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Lanes of 16 bytes, which instructions for shuffling do not leave, and how many of them a vector has. */
template <class T> constexpr int kQuad = 16 / static_cast<int>(sizeof(T));
template <class T> constexpr int kQuads = lanes<T> / kQuad<T>;

/** Of every 16 bytes of a and b: runs of `run` lanes in turns, from the lower (half 0) or the upper (half 1) part. */
template <class T, int run> G2_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, int half) {
  constexpr int L = lanes<T>, Q = kQuad<T>;
  Mask<T> order;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) order[i] = i / Q * Q + half * (Q / 2) + i % Q / (2 * run) * run + i % run + i / run % 2 * L;
  return __builtin_shuffle(a, b, order);
}

/** Transposes squares: of x[r] the 16 bytes at q hold row q·kQuad + r, and lane i of y[e] is element e of row i. */
template <class T> G2_INLINE void transpose_quads(const Vec<T>* x, Vec<T>* y) {
  if constexpr (kQuad<T> == 2) {
    y[0] = interleave<T, 1>(x[0], x[1], 0), y[1] = interleave<T, 1>(x[0], x[1], 1);
  } else {
    const Vec<T> a = interleave<T, 1>(x[0], x[1], 0), b = interleave<T, 1>(x[0], x[1], 1);
    const Vec<T> c = interleave<T, 1>(x[2], x[3], 0), d = interleave<T, 1>(x[2], x[3], 1);
    y[0] = interleave<T, 2>(a, c, 0), y[1] = interleave<T, 2>(a, c, 1);
    y[2] = interleave<T, 2>(b, d, 0), y[3] = interleave<T, 2>(b, d, 1);
  }
}

/** Half of the 16 bytes of a, then as many of b: every other one from the first (odd 0) or the second (odd 1) on. */
template <class T> G2_INLINE Vec<T> every_other_quad(Vec<T> a, Vec<T> b, int odd) {
  constexpr int L = lanes<T>, Q = kQuad<T>, B = kQuads<T>;
  Mask<T> order;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) order[i] = (i / Q % (B / 2) * 2 + odd) * Q + i % Q + i / Q / (B / 2) * L;
  return __builtin_shuffle(a, b, order);
}

/** Transposes as many vectors as a vector has lanes. */
template <class T> G2_INLINE void transpose(Vec<T>* x) {
  constexpr int L = lanes<T>, Q = kQuad<T>, B = kQuads<T>;
  Vec<T> y[B][Q];  // y[q][r] holds the 16 bytes at q of every Q-th vector from r on
#pragma GCC unroll 4
  for (int r = 0; r < Q; r++) {
    if constexpr (B == 1) {
      y[0][r] = x[r];
    } else if constexpr (B == 2) {
      const Vec<T> a = x[r], b = x[r + Q];
      y[0][r] = every_other_quad<T>(a, b, 0), y[1][r] = every_other_quad<T>(a, b, 1);
    } else {
      const Vec<T> even = every_other_quad<T>(x[r], x[r + Q], 0), odd = every_other_quad<T>(x[r], x[r + Q], 1);
      const Vec<T> even2 = every_other_quad<T>(x[r + 2 * Q], x[r + 3 * Q], 0), odd2 = every_other_quad<T>(x[r + 2 * Q], x[r + 3 * Q], 1);
      y[0][r] = every_other_quad<T>(even, even2, 0), y[2][r] = every_other_quad<T>(even, even2, 1);
      y[1][r] = every_other_quad<T>(odd, odd2, 0), y[3][r] = every_other_quad<T>(odd, odd2, 1);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < L / Q; q++) transpose_quads<T>(y[q], x + q * Q);
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
#pragma GCC unroll 16
    for (size_t i = 0; i < L; i++) x[i] = whole(b + i * col);
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

/**
 * body(k, x, m) where x holds, of n ≤ L columns of B, m numbers from k on; for all `depth` of them, in order. Meanwhile lines that are read next are
 * fetched, one of every column a step: of the columns behind these, or, if `next` is given, those that lie there one behind the other.
 */
template <class E, class W, class F> G2_INLINE void each_columns(const W* b, size_t col, size_t depth, size_t n, const W* next, F&& body) {
  constexpr size_t L = lanes<E>, D = Columns<E, W>::depth;
  alignas(64) W edge[L * D];
  const size_t step = next ? D : col;
  for (size_t k = 0; k < depth; k += D) {
    const size_t m = (depth - k < D ? depth - k : D);
    const W* line = next ? next + L * k : b + L * col + k;
    for (size_t i = 0; i < L; i++, line += step) __builtin_prefetch(line, 0, 2);
    const bool whole = n == L && m == D;
    if (!whole) copy_edge<E>(b + k, col, n, m, edge);
    body(k, Columns<E, W>(whole ? b + k : edge, whole ? col : D), m);
  }
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
