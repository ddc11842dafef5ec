// How GEMM lays out A and B for its micro-kernel: A in rows or columns, B in panels as wide as the kernel. Hot files only.
#pragma once
#include "gemm_block.h"

namespace g2rpo {

namespace {

constexpr size_t kTileWork = size_t{1} << 20;  // multiply-adds that are worth waking a thread for

/** Rows of A behind each other, kRowStride apart; one row of zeros behind them if the micro-kernel reads it. */
template <class T> void pack_rows(const T* a, size_t row, size_t col, size_t rows, size_t depth, T* to) {
  constexpr size_t L = lanes<T>;
  for (size_t i = 0; i < rows; i++) {
    const T* from = a + i * row;
    T* out = to + i * kRowStride;
    size_t k = 0;
    if (col == 1) {
      for (; k + L <= depth; k += L) store(out + k, load<T>(from + k));
      for (; k < depth; k++) out[k] = from[k];
    } else {
      for (; k < depth; k++) out[k] = from[k * col];
    }
  }
  if ((kRows - rows % kRows) % 2)
    for (size_t k = 0; k < depth; k++) to[rows * kRowStride + k] = 0;
}

/** Columns of A behind each other, kRows of their elements in each; for A whose rows are neighbours in memory. */
template <class T> void pack_columns(const T* a, size_t col, size_t rows, size_t depth, T* to) {
  const size_t whole = rows / kRows * kRows;
  for (size_t k = 0; k < depth; k++, a += col) {
    T* out = to + k * kRows;
    for (size_t i = 0; i < whole; i += kRows, out += kRows * kDepth) __builtin_memcpy(out, a + i, kRows * sizeof(T));
    if (whole == rows) continue;
    for (size_t r = 0; r < kRows; r++) out[r] = whole + r < rows ? a[whole + r] : T(0);
  }
}

/** A panel of B: `depth` rows of kCols elements, zeros behind the last column. */
template <class T, class W> void pack_panel(const W* b, size_t row, size_t col, size_t depth, size_t cols, T* to) {
  constexpr size_t L = lanes<T>, P = kCols<T>;
  if (col == 1) {
    if (__is_same(T, W) && cols == P) {
      for (size_t k = 0; k < depth; k++) __builtin_memcpy(to + k * P, b + k * row, P * sizeof(T));
      return;
    }
    for (size_t k = 0; k < depth; k++, b += row, to += P)
#pragma GCC unroll 4
      for (size_t j = 0; j < P; j += L)
        store(to + j, j + L <= cols ? load(b + j) : j < cols ? load_n(b + j, cols - j) : Vec<T>{});
    return;
  }
  if (row == 1) {
    for (size_t j = 0; j < P; j += L)
      each_columns<T>(b + j * col, col, depth, j < cols ? least(L, cols - j) : 0, [&](size_t k, const auto& x, size_t m) G2_INLINED {
#pragma GCC unroll 32
        for (size_t i = 0; i < x.depth; i++) {
          if (i >= m) break;
          store(to + (k + i) * P + j, x[i]);
        }
      });
    return;
  }
  for (size_t k = 0; k < depth; k++)
    for (size_t j = 0; j < P; j++) to[k * P + j] = j < cols ? widen(b[k * row + j * col]) : T(0);
}

/** Items on all threads; a single one without leaving this one. */
template <class F> G2_INLINE void each(Stream& stream, size_t n, F&& f) {
  if (n > 1) return parallel_for(stream, n, f);
  for (size_t i = 0; i < n; i++) f(i);
}

/** Part of B: k in [k0, k0 + depth) in chunks, j in [j0, j0 + cols). */
struct Part {
  size_t k0, depth, chunk;
  size_t j0, cols;
};

template <class T, class W> G2_INLINE void pack_one(const Gemm<T, W>& op, const Part& part, size_t k, size_t p, size_t depth, T* to) {
  const size_t j = p * kCols<T>;
  pack_panel(op.b.data + (part.k0 + k) * op.b_row + (part.j0 + j) * op.b_col, op.b_row, op.b_col, depth,
             least(kCols<T>, part.cols - j), to);
}

template <class T, class W> void pack_b(Stream& stream, const Gemm<T, W>& op, const Part& part, T* packed) {
  constexpr size_t P = kCols<T>;
  const size_t panels = ceil_div(part.cols, P);
  const auto pack = [&](size_t p) {
    for (size_t k = 0; k < part.depth; k += part.chunk) {
      const size_t depth = least(part.chunk, part.depth - k);
      pack_one(op, part, k, p, depth, packed + k * panels * P + p * depth * P);
    }
  };
  if (part.depth * part.cols < kTileWork / 16) {
    for (size_t p = 0; p < panels; p++) pack(p);
  } else {
    each(stream, panels, pack);
  }
}

/** Panels of a part of B that was packed beforehand. */
template <class T> struct PackedPanels {
  static constexpr size_t room = 0;  // elements that `at` may use
  const T* packed;
  size_t panels;

  G2_INLINE const T* at(size_t k, size_t p, size_t depth, T*) const { return packed + (k * panels + p * depth) * kCols<T>; }
  /** Bytes of the next panel come nearer while this one is used, a share at each of `times`. */
  struct Ahead {
    const char* next;
    size_t lines;
    G2_INLINE void operator()() {
      for (size_t l = 0; l < lines; l++, next += 64) __builtin_prefetch(next, 0, 2);
    }
  };
  G2_INLINE Ahead ahead(size_t k, size_t p, size_t depth, size_t times) const {
    return {reinterpret_cast<const char*>(at(k, p + 1, depth, nullptr)), depth * kCols<T> * sizeof(T) / 64 / times + 1};
  }
};

/** Panels that are packed when they are wanted: where all rows are one tile, nobody wants them twice. */
template <class T, class W> struct FreshPanels {
  static constexpr size_t room = kDepth * kCols<T>;
  const Gemm<T, W>& op;
  const Part& part;

  G2_INLINE const T* at(size_t k, size_t p, size_t depth, T* to) const {
    pack_one(op, part, k, p, depth, to);
    return to;
  }
  G2_INLINE auto ahead(size_t, size_t, size_t, size_t) const { return [] {}; }
};

}  // namespace

}  // namespace g2rpo
