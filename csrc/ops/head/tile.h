// Products of small tiles for the head, whose logits lie transposed: tokens run along the lanes. Hot files only.
// The general product packs both sides at every call; here the hidden states of a block are packed once for the whole
// vocabulary and the weight is read as it lies, which is a third faster where a block has only 64 columns.
#pragma once
#include "../../backends/cpu/rows.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Columns of a packed panel: two vectors. */
template <class T> constexpr size_t kPanel = 2 * lanes<T>;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr size_t kTileRows = 8;
#else
constexpr size_t kTileRows = 4;
#endif

/** C[M, columns] = A·B, or += ; B is a packed panel [k][kPanel]. */
template <class T, size_t M>
static __attribute__((noinline)) void tile(const T* a, size_t a_row, size_t a_col, const T* b, size_t k, T* c, size_t c_row,
                                           size_t columns, bool accumulate) {
  constexpr size_t w = lanes<T>;
  Vec<T> lo[M] = {}, hi[M] = {};
  for (size_t p = 0; p < k; p++) {
    const Vec<T> b0 = load<T>(b + p * 2 * w), b1 = load<T>(b + p * 2 * w + w);
    const T* ap = a + p * a_col;
    for (size_t i = 0; i < M; i++) {
      const Vec<T> ai = splat<T>(ap[i * a_row]);
      lo[i] = fma(ai, b0, lo[i]);
      hi[i] = fma(ai, b1, hi[i]);
    }
  }
  const size_t n0 = columns < w ? columns : w, n1 = columns - n0;
  for (size_t i = 0; i < M; i++) {
    T* row = c + i * c_row;
    if (n1 == w) {
      store<T>(row, accumulate ? load<T>(row) + lo[i] : lo[i]);
      store<T>(row + w, accumulate ? load<T>(row + w) + hi[i] : hi[i]);
    } else {
      store_n<T>(row, accumulate ? load_n<T>(row, n0) + lo[i] : lo[i], n0);
      if (n1) store_n<T>(row + w, accumulate ? load_n<T>(row + w, n1) + hi[i] : hi[i], n1);
    }
  }
}

/** The same for any number of rows. Every element is summed in the order of k, whatever tile it falls into. */
template <class T>
G2_INLINE void tiles(size_t m, const T* a, size_t a_row, size_t a_col, const T* b, size_t k, T* c, size_t c_row, size_t columns,
                     bool accumulate) {
  size_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows)
    tile<T, kTileRows>(a + i * a_row, a_row, a_col, b, k, c + i * c_row, c_row, columns, accumulate);
  for (; i < m; i++) tile<T, 1>(a + i * a_row, a_row, a_col, b, k, c + i * c_row, c_row, columns, accumulate);
}

/** Values of a weight in the type of the arithmetic: as they are, or widened into `room`. */
template <class T> G2_INLINE const T* real_values(const T* x, size_t, T*) { return x; }
G2_INLINE const float* real_values(const bf16* x, size_t n, float* room) {
  copy_row(room, x, n);
  return room;
}

/** Rows of a matrix as a packed panel; columns beyond `columns` are 0. */
template <class T, class W> G2_INLINE void pack_panel(const W* from, size_t row, size_t k, size_t columns, T* panel) {
  constexpr size_t w = lanes<T>;
  const size_t n0 = columns < w ? columns : w, n1 = columns - n0;
  for (size_t p = 0; p < k; p++) {
    if (n1 == w) {
      store<T>(panel + p * 2 * w, load(from + p * row));
      store<T>(panel + p * 2 * w + w, load(from + p * row + w));
    } else {
      store<T>(panel + p * 2 * w, load_n(from + p * row, n0));
      store<T>(panel + p * 2 * w + w, n1 ? load_n(from + p * row + w, n1) : Vec<T>{});
    }
  }
}

/** Rows of a matrix as the columns of a packed panel; columns beyond `rows` are 0. */
template <class T> G2_INLINE void pack_transposed(const T* from, size_t row, size_t rows, size_t k, T* panel) {
  for (size_t j = 0; j < kPanel<T>; j++)
    for (size_t p = 0; p < k; p++) panel[p * kPanel<T> + j] = j < rows ? from[j * row + p] : T(0);
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
