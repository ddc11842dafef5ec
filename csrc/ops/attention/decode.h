// One new token per row against cached keys: the lanes are keys, or parts of a value. Hot files only.
#pragma once
#include "functions.h"

namespace g2rpo {

namespace {

constexpr size_t kTileDecode = 64;  // keys of a tile
constexpr size_t kDecodeRows = 64;  // queries that meet the keys of a prefix together

/** The queries of one key head of a few rows with the same prefix; the lanes are keys here, or parts of a value. */
template <class T> struct Decoder {
  size_t width, even, padded, key_stride;
  T* query;  // [row][even], times scale · log₂e
  T* out;    // [row][padded]
  T *top, *sum;
  T *keys, *values, *score, *part, *fade;

  /** Rows [from, from + rows) meet n more keys. */
  void meet(size_t from, size_t rows, const T* key, const T* value, size_t n) {
    for (size_t at = 0; at < n; at += kTileDecode)
      meet_tile(from, rows, key + at * key_stride, value + at * key_stride, least(n - at, kTileDecode));
  }

  void meet_tile(size_t from, size_t rows, const T* key, const T* value, size_t n) {
    constexpr size_t L = kLanes<T>;
    const size_t columns = (n + L - 1) / L;
    for (size_t v = 0; v < columns; v++) {
      const T* lanes[L];
      for (size_t l = 0; l < L; l++) lanes[l] = v * L + l < n ? key + (v * L + l) * key_stride : nullptr;
      to_lanes<T>(lanes, width, T(1), keys + v * width * L);
    }
    copy_rows(value, key_stride, n, width, padded, values);
    product<T, false, false>(rows, columns, width, query + from * even, even, keys, L, width * L, score, kTileDecode, L);
    for (size_t r = 0; r < rows; r++) {
      T* x = score + r * kTileDecode;
      const Vec<T> none = simd::splat(-static_cast<T>(__builtin_inf()));
      Vec<T> top = none, sum = Vec<T>{};
      simd::store(x + (columns - 1) * L, simd::load_n(x + (columns - 1) * L, n - (columns - 1) * L, none[0]));
      for (size_t v = 0; v < columns; v++) top = simd::max(top, simd::load(x + v * L));
      const T before = this->top[from + r], highest = simd::largest<T>(top), now = before > highest ? before : highest;
      for (size_t v = 0; v < columns; v++) {
        const Vec<T> p = exp2(simd::load(x + v * L) - now);
        sum += p;
        simd::store(x + v * L, p);
      }
      fade[r] = exp2(simd::splat(before - now))[0];
      this->top[from + r] = now;
      this->sum[from + r] = this->sum[from + r] * fade[r] + simd::sum<T>(sum);
    }
    product<T, false, false>(rows, padded / L, n, score, kTileDecode, values, padded, L, part, padded, L);
    for (size_t r = 0; r < rows; r++)
      for (size_t d = 0; d < padded; d += L) {
        T* o = out + (from + r) * padded + d;
        simd::store(o, simd::fma(simd::load(o), simd::splat(fade[r]), simd::load(part + r * padded + d)));
      }
  }
};

}  // namespace

}  // namespace g2rpo
