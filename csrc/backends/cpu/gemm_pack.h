// How GEMM lays out A and B for its micro-kernel: A in rows or columns, B in panels as wide as the kernel. Hot files only.
#pragma once
#include "gemm_block.h"

namespace g2rpo {

namespace {

constexpr size_t kTileWork = size_t{1} << 20;  // multiply-adds that are worth waking a thread for

/** A row whose numbers are neighbours in memory. */
template <class E, class T> G2_INLINE void pack_row(const T* from, size_t depth, E* to) {
  constexpr size_t L = lanes<E>, D = L * deep<E>;
  size_t k = 0;
  for (; k + D <= depth; k += D) store<E>(to + k / deep<E>, simd::along<E>(from + k));
  for (size_t e = k / deep<E>; e < elements_of<E>(depth); e++) to[e] = simd::element<E>(e, depth, [&](size_t i) G2_INLINED { return from[i]; });
}

/** Rows of A behind each other, kRowStride apart; one row of zeros behind them if the micro-kernel reads it. */
template <class E, class T> void pack_rows(const T* a, size_t row, size_t col, size_t rows, size_t depth, E* to) {
  const size_t count = elements_of<E>(depth);
  for (size_t i = 0; i < rows; i++, a += row, to += kRowStride<E>) {
    if (col == 1) pack_row(a, depth, to);
    else
      for (size_t e = 0; e < count; e++) to[e] = simd::element<E>(e, depth, [&](size_t k) G2_INLINED { return a[k * col]; });
  }
  if ((kRows - rows % kRows) % 2)
    for (size_t e = 0; e < count; e++) to[e] = 0;
}

/** Columns of A behind each other, kRows of their elements in each; for A whose rows are neighbours in memory. */
template <class E, class T> void pack_columns(const T* a, size_t col, size_t rows, size_t depth, E* to) {
  constexpr size_t D = deep<E>, step = kRows * kDepth<E>;
  const size_t whole = rows / kRows * kRows;
  for (size_t k = 0; k < depth; k += D, a += D * col, to += kRows) {
    if constexpr (D == 1) {
      E* out = to;
      for (size_t i = 0; i < whole; i += kRows, out += step) __builtin_memcpy(out, a + i, kRows * sizeof(T));
      if (whole == rows) continue;
      for (size_t r = 0; r < kRows; r++) out[r] = whole + r < rows ? a[whole + r] : T(0);
    } else {
      for (size_t i = 0; i < rows; i += kRows) {
        const size_t n = least(kRows, rows - i);
        const auto pairs = simd::elements<E>(depth - k, [&](size_t d) G2_INLINED { return load_n(a + d * col + i, n); });
        __builtin_memcpy(to + i / kRows * step, &pairs, kRows * sizeof(E));
      }
    }
  }
}

/** A panel of B: as many rows of kCols elements as hold `depth` numbers along k, zeros behind the last column. */
template <class E, class W> void pack_panel(const W* b, size_t row, size_t col, size_t depth, size_t cols, E* to) {
  constexpr size_t L = lanes<E>, P = kCols<E>, D = deep<E>;
  if (col == 1) {
    if (__is_same(E, W) && cols == P) {
      for (size_t k = 0; k < depth; k++) __builtin_memcpy(to + k * P, b + k * row, P * sizeof(E));
      return;
    }
    for (size_t k = 0; k < depth; k += D, b += D * row, to += P)
#pragma GCC unroll 4
      for (size_t j = 0; j < P; j += L)
        store<E>(to + j, simd::elements<E>(depth - k, [&](size_t d) G2_INLINED {
          return j + L <= cols ? load(b + d * row + j) : j < cols ? load_n(b + d * row + j, cols - j) : Vec<Sum<E>>{};
        }));
    return;
  }
  if (row == 1) {
    for (size_t j = 0; j < P; j += L)
      each_columns<E>(b + j * col, col, depth, j < cols ? least(L, cols - j) : 0, static_cast<const W*>(nullptr), [&](size_t k, const auto& x, size_t m) G2_INLINED {
#pragma GCC unroll 32
        for (size_t e = 0; e < x.count; e++) {
          if (e >= elements_of<E>(m)) break;
          store<E>(to + (k / D + e) * P + j, x[e]);
        }
      });
    return;
  }
  for (size_t e = 0; e < elements_of<E>(depth); e++)
    for (size_t j = 0; j < P; j++)
      to[e * P + j] = j < cols ? simd::element<E>(e, depth, [&](size_t k) G2_INLINED { return b[k * row + j * col]; }) : E(0);
}

/** Items on all threads; a single one without leaving this one. */
template <class F> G2_INLINE void each(Stream& stream, size_t n, F&& f) {
  if (n > 1) return parallel_for(stream, n, f);
  for (size_t i = 0; i < n; i++) f(i);
}

/** Part of B, in numbers: k in [k0, k0 + depth) in chunks, j in [j0, j0 + cols). */
struct Part {
  size_t k0, depth, chunk;
  size_t j0, cols;
};

template <class E, class T, class W, class A> G2_INLINE void pack_one(const Gemm<T, W, A>& op, const Part& part, size_t k, size_t p, size_t depth, E* to) {
  const size_t j = p * kCols<E>;
  pack_panel(op.b.data + (part.k0 + k) * op.b_row + (part.j0 + j) * op.b_col, op.b_row, op.b_col, depth,
             least(kCols<E>, part.cols - j), to);
}

/** Where a panel of a chunk of k lies in a packed part of B: chunk by chunk, of which all but the last hold whole elements. */
template <class E> G2_INLINE size_t panel_at(size_t panels, size_t k, size_t p, size_t depth) {
  return (k / deep<E> * panels + p * elements_of<E>(depth)) * kCols<E>;
}

template <class E, class T, class W, class A> void pack_b(Stream& stream, const Gemm<T, W, A>& op, const Part& part, E* packed) {
  const size_t panels = ceil_div(part.cols, kCols<E>);
  const auto pack = [&](size_t p) {
    for (size_t k = 0; k < part.depth; k += part.chunk) {
      const size_t depth = least(part.chunk, part.depth - k);
      pack_one(op, part, k, p, depth, packed + panel_at<E>(panels, k, p, depth));
    }
  };
  if (part.depth * part.cols < kTileWork / 16) {
    for (size_t p = 0; p < panels; p++) pack(p);
  } else {
    each(stream, panels, pack);
  }
}

/** Panels of a part of B that was packed beforehand. */
template <class E> struct PackedPanels {
  static constexpr size_t room = 0;  // elements that `at` may use
  const E* packed;
  size_t panels;

  G2_INLINE const E* at(size_t k, size_t p, size_t depth, E*) const { return packed + panel_at<E>(panels, k, p, depth); }
  /** Where the next panel lies, which comes nearer while this one is used. */
  G2_INLINE const char* next(size_t k, size_t p, size_t depth) const { return reinterpret_cast<const char*>(at(k, p + 1, depth, nullptr)); }
};

/** Panels that are packed when they are wanted: where all rows are one tile, nobody wants them twice. */
template <class E, class T, class W, class A> struct FreshPanels {
  static constexpr size_t room = kDepth<E> * kCols<E>;
  const Gemm<T, W, A>& op;
  const Part& part;

  G2_INLINE const E* at(size_t k, size_t p, size_t depth, E* to) const {
    pack_one(op, part, k, p, depth, to);
    return to;
  }
  G2_INLINE const char* next(size_t, size_t, size_t) const { return nullptr; }
};

}  // namespace

}  // namespace g2rpo
