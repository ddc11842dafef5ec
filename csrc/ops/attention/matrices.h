// Products of few rows by many lanes, transposes and copies: what the passes of attention are made of. Hot files only.
#pragma once
#include "../../backends/cpu/simd.h"

namespace g2rpo {

namespace {

using simd::Mask;
using simd::Vec;
template <class T> constexpr size_t kLanes = static_cast<size_t>(simd::lanes<T>);

#if defined(__AVX512F__)
constexpr int kRows = 8, kColumns = 3;  // rows and vectors of a product held in registers
#else
constexpr int kRows = 4, kColumns = 2;
#endif

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
constexpr size_t least(size_t a, size_t b) { return a < b ? a : b; }

// ---- products ----

/** sum(r, ·) += Σₖ a(r, k) · b(k, ·), in registers; a(r, k) is a[r + k·stride] if kAcross, else a[r·stride + k]. */
template <class T, int R, int N, bool kAcross>
G2_INLINE void accumulate(size_t depth, const T* a, size_t stride, const T* b, size_t b_step, size_t b_column, Vec<T> (&sum)[R][N]) {
  for (size_t k = 0; k < depth; k++) {
    Vec<T> right[N];
#pragma GCC unroll 3
    for (int n = 0; n < N; n++) right[n] = simd::load(b + n * b_column);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec<T> left = simd::splat(kAcross ? a[r] : a[r * stride]);
#pragma GCC unroll 3
      for (int n = 0; n < N; n++) sum[r][n] = simd::fma(left, right[n], sum[r][n]);
    }
    a += kAcross ? stride : 1;
    b += b_step;
  }
}

/** c = or += the same. */
template <class T, int R, int N, bool kAdd, bool kAcross>
G2_INLINE void small_product(size_t depth, const T* a, size_t stride, const T* b, size_t b_step, size_t b_column, T* c, size_t c_row,
                             size_t c_column) {
  Vec<T> sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int n = 0; n < N; n++) sum[r][n] = kAdd ? simd::load(c + r * c_row + n * c_column) : Vec<T>{};
  accumulate<T, R, N, kAcross>(depth, a, stride, b, b_step, b_column, sum);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int n = 0; n < N; n++) simd::store(c + r * c_row + n * c_column, sum[r][n]);
}

/** All rows against N columns; a and c have room for rows rounded up to 4. */
template <class T, int N, bool kAdd, bool kAcross>
__attribute__((noinline)) void strip(size_t rows, size_t depth, const T* a, size_t stride, const T* b, size_t b_step, size_t b_column,
                                     T* c, size_t c_row, size_t c_column) {
  const size_t next = kAcross ? 1 : stride;
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    small_product<T, kRows, N, kAdd, kAcross>(depth, a + r * next, stride, b, b_step, b_column, c + r * c_row, c_row, c_column);
  for (; r < rows; r += 4)
    small_product<T, 4, N, kAdd, kAcross>(depth, a + r * next, stride, b, b_step, b_column, c + r * c_row, c_row, c_column);
}

/** The same for any number of columns. */
template <class T, bool kAdd, bool kAcross>
void product(size_t rows, size_t columns, size_t depth, const T* a, size_t stride, const T* b, size_t b_step, size_t b_column, T* c,
             size_t c_row, size_t c_column) {
  while (columns > 0) {
    // four columns are better cut in two halves than in three and one
    const size_t take = columns >= kColumns && columns != 4 ? kColumns : least(columns, 2);
    if (take == 3) strip<T, kColumns, kAdd, kAcross>(rows, depth, a, stride, b, b_step, b_column, c, c_row, c_column);
    else if (take == 2) strip<T, 2, kAdd, kAcross>(rows, depth, a, stride, b, b_step, b_column, c, c_row, c_column);
    else strip<T, 1, kAdd, kAcross>(rows, depth, a, stride, b, b_step, b_column, c, c_row, c_column);
    columns -= take;
    b += take * b_column;
    c += take * c_column;
  }
}

/** c(r, ·) += Σₖ a(r, k) · b(k, ·) of a whole vector of columns and half a vector behind it, two rows of which are one vector: in b it stands twice, in c once. */
template <class T, int R> G2_INLINE void small_product_and_half(size_t depth, const T* a, size_t stride, const T* b, size_t b_step, T* c, size_t c_row) {
  constexpr size_t L = kLanes<T>;
  Vec<T> whole[R], half[R / 2];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) whole[r] = simd::load(c + r * c_row);
#pragma GCC unroll 4
  for (int r = 0; r < R; r += 2) half[r / 2] = simd::load_halves(c + r * c_row + L, c + (r + 1) * c_row + L);
  for (size_t k = 0; k < depth; k++, a++, b += b_step) {
    const Vec<T> right = simd::load(b), twice = simd::load(b + L);
#pragma GCC unroll 4
    for (int r = 0; r < R; r += 2) {
      const Vec<T> one = simd::splat(a[r * stride]), other = simd::splat(a[(r + 1) * stride]);
      whole[r] = simd::fma(one, right, whole[r]);
      whole[r + 1] = simd::fma(other, right, whole[r + 1]);
      half[r / 2] = simd::fma(simd::join_halves<T>(one, other), twice, half[r / 2]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) simd::store(c + r * c_row, whole[r]);
#pragma GCC unroll 4
  for (int r = 0; r < R; r += 2) simd::store_halves(c + r * c_row + L, c + (r + 1) * c_row + L, half[r / 2]);
}

/** All rows, of which there is room for a multiple of 4. */
template <class T> __attribute__((noinline)) void strip_and_half(size_t rows, size_t depth, const T* a, size_t stride, const T* b, size_t b_step, T* c, size_t c_row) {
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows) small_product_and_half<T, kRows>(depth, a + r * stride, stride, b, b_step, c + r * c_row, c_row);
  for (; r < rows; r += 4) small_product_and_half<T, 4>(depth, a + r * stride, stride, b, b_step, c + r * c_row, c_row);
}

/** Whether rows of `width` end in at most half a vector behind a whole one, which `product_of_rows` takes two by two. */
template <class T> constexpr bool ends_in_half(size_t width) {
  const size_t rest = width % kLanes<T>;
  return width > kLanes<T> && rest > 0 && rest <= kLanes<T> / 2;
}

/** c += a · b, of rows of `width` numbers in whole vectors: those of b as `widen_row` makes them, those of c with anything behind `width`. */
template <class T> void product_of_rows(size_t rows, size_t width, size_t depth, const T* a, size_t stride, const T* b, T* c) {
  constexpr size_t L = kLanes<T>;
  const size_t padded = round_up(width, L), wide = padded / L;
  if (!ends_in_half<T>(width)) return product<T, true, false>(rows, wide, depth, a, stride, b, padded, L, c, padded, L);
  product<T, true, false>(rows, wide - 2, depth, a, stride, b, padded, L, c, padded, L);
  strip_and_half<T>(rows, depth, a, stride, b + padded - 2 * L, padded, c + padded - 2 * L, padded);
}

// ---- transposes and copies ----

template <int... l> struct Lanes {};
/** Exchanges the upper right and the lower left blocks of size s. */
template <int s, class V, int... l> G2_INLINE void exchange(V& a, V& b, Lanes<l...>) {
  constexpr int n = sizeof...(l);
  const V upper = __builtin_shufflevector(a, b, ((l & s) ? n + l - s : l)...);
  b = __builtin_shufflevector(a, b, ((l & s) ? n + l : l + s)...);
  a = upper;
}
template <int s, class T, size_t n> G2_INLINE void transpose_from(Vec<T> (&v)[n]) {
  if constexpr (s > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < static_cast<int>(n); i++)
      if (!(i & s)) exchange<s>(v[i], v[i + s], Lanes<__integer_pack(static_cast<int>(kLanes<T>))...>{});
    transpose_from<s / 2, T>(v);
  }
}
/** v[i][l] ↔ v[l][i]; of half as many vectors as there are lanes, in either half of them by itself. */
template <class T, size_t n> G2_INLINE void transpose(Vec<T> (&v)[n]) { transpose_from<static_cast<int>(n) / 2, T>(v); }

/** out[d][lane] = factor · rows[lane][d]; a missing row is 0. */
template <class T> void to_lanes(const T* const (&rows)[kLanes<T>], size_t width, T factor, T* out) {
  constexpr size_t L = kLanes<T>;
  for (size_t d = 0; d < width; d += L) {
    const size_t n = least(width - d, L);
    if (n == L / 2) {
      Vec<T> v[L / 2];
#pragma GCC unroll 8
      for (size_t l = 0; l < L / 2; l++) v[l] = simd::load_halves(rows[l] ? rows[l] + d : nullptr, rows[l + L / 2] ? rows[l + L / 2] + d : nullptr);
      transpose<T>(v);
#pragma GCC unroll 8
      for (size_t l = 0; l < L / 2; l++) simd::store(out + (d + l) * L, v[l] * factor);
      continue;
    }
    Vec<T> v[L];
    if (n == L)
#pragma GCC unroll 16
      for (size_t l = 0; l < L; l++) v[l] = rows[l] ? simd::load(rows[l] + d) : Vec<T>{};
    else
#pragma GCC unroll 16
      for (size_t l = 0; l < L; l++) v[l] = rows[l] ? simd::load_n(rows[l] + d, n) : Vec<T>{};
    transpose<T>(v);
#pragma GCC unroll 16
    for (size_t l = 0; l < L; l++)
      if (l < n) simd::store(out + (d + l) * L, v[l] * factor);
  }
}

/** rows[lane][d] = factor[lane] · in[d][lane]; a missing row is left out. */
template <class T> void to_rows(const T* in, size_t width, Vec<T> factor, T* const (&rows)[kLanes<T>]) {
  constexpr size_t L = kLanes<T>;
  for (size_t d = 0; d < width; d += L) {
    const size_t n = least(width - d, L);
    Vec<T> v[L];
#pragma GCC unroll 16
    for (size_t l = 0; l < L; l++) v[l] = l < n ? simd::load(in + (d + l) * L) * factor : Vec<T>{};
    transpose<T>(v);
    for (size_t l = 0; l < L; l++)
      if (rows[l]) simd::store_n(rows[l] + d, v[l], n);
  }
}

/** Row by row, widened by zeros to `to`; may write one vector behind the last. */
template <class T> void copy_rows(const T* from, size_t from_stride, size_t rows, size_t width, size_t to, T* out) {
  constexpr size_t L = kLanes<T>;
  const size_t whole = width / L * L;
  for (size_t r = 0; r < rows; r++, from += from_stride, out += to) {
    for (size_t d = 0; d < whole; d += L) simd::store(out + d, simd::load(from + d));
    if (whole < to) simd::store(out + whole, simd::load_n(from + whole, width - whole));
  }
}

/** One row, widened by zeros to whole vectors, as `product_of_rows` reads it: half a vector at its end stands there twice. */
template <class T> void widen_row(const T* from, size_t width, T* out) {
  constexpr size_t L = kLanes<T>;
  const size_t padded = round_up(width, L);
  copy_rows(from, 0, 1, width, padded, out);
  if (ends_in_half<T>(width)) __builtin_memcpy(out + padded - L / 2, out + padded - L, L / 2 * sizeof(T));
}

template <class T> void zero(T* data, size_t count) { __builtin_memset(data, 0, count * sizeof(T)); }

/** to[row] = or += factor · from[row], rows of `width` out of rows of `from_stride`. */
template <class T, bool kAdd> void give_rows(const T* from, size_t from_stride, size_t rows, size_t width, T factor, T* to, size_t to_stride) {
  constexpr size_t L = kLanes<T>;
  for (size_t r = 0; r < rows; r++, from += from_stride, to += to_stride)
    for (size_t d = 0; d < width; d += L) {
      const size_t n = least(width - d, L);
      const Vec<T> x = simd::load(from + d) * factor;
      if (n == L) simd::store(to + d, kAdd ? simd::load(to + d) + x : x);
      else simd::store_n(to + d, kAdd ? simd::load_n(to + d, n) + x : x, n);
    }
}

}  // namespace

}  // namespace g2rpo
