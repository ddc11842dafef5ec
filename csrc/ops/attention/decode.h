// One new token per row against cached keys: the lanes are keys, or parts of a value. Hot files only.
#pragma once
#include "functions.h"
#include "messages.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kTileDecode = 64;  // keys of a tile
constexpr size_t kDecodeRows = 64;  // queries that meet the keys of a prefix together

/** All `length` keys of a table lie in pages that are there. */
inline bool within(const int32_t* pages, size_t room, size_t page, int32_t length, size_t count) {
  if (length < 0 || static_cast<size_t>(length) > room * page) return false;
  for (size_t i = 0; i * page < static_cast<size_t>(length); i++)
    if (pages[i] < 0 || static_cast<size_t>(pages[i]) >= count) return false;
  return true;
}

/** What is wrong with the tables, or null. */
template <class T> const char* problem_of(const DecodeAttention<T>& op) {
  const size_t count = op.key.dim[0], page = op.key.dim[1], prefixes = op.prefixPages.dim[0];
  for (size_t n = 0; n < prefixes; n++)
    if (!within(op.prefixPages.data + n * op.prefixPages.dim[1], op.prefixPages.dim[1], page, op.prefixLength[n], count))
      return attention::kBadPrefixTable;
  for (size_t b = 0; b < op.query.dim[0]; b++) {
    if (op.prefix[b] < -1 || (op.prefix[b] >= 0 && static_cast<size_t>(op.prefix[b]) >= prefixes))
      return attention::kBadPrefix;
    if (!within(op.ownPages.data + b * op.ownPages.dim[1], op.ownPages.dim[1], page, op.ownLength[b], count))
      return attention::kBadOwnTable;
  }
  return nullptr;
}

/** The queries of one key head of a few rows with the same prefix; the lanes are keys here, or parts of a value. */
template <class T> struct Decoder {
  size_t width, even, padded, key_stride;
  size_t page;              // keys of a page
  const T *key, *value;     // of this key head, in page 0
  T* query;  // [row][even], times scale · log₂e
  T* out;    // [row][padded]
  T *top, *sum;
  T *keys, *values, *score, *part, *fade;

  /** Rows [from, from + rows) meet the n keys of a table. Tiles are counted from its beginning, whatever the size of a page. */
  void meet(size_t from, size_t rows, const int32_t* pages, size_t n) {
    for (size_t at = 0; at < n; at += kTileDecode) meet_tile(from, rows, pages, at, least(n - at, kTileDecode));
  }

  void meet_tile(size_t from, size_t rows, const int32_t* pages, size_t at, size_t n) {
    constexpr size_t L = kLanes<T>;
    const T* place[kTileDecode];
    pages += at / page;
    for (size_t j = 0, first = at % page, piece; j < n; j += piece, first = 0, pages++) {
      const size_t begin = (static_cast<size_t>(*pages) * page + first) * key_stride;
      piece = least(n - j, page - first);
      for (size_t i = 0; i < piece; i++) place[j + i] = key + begin + i * key_stride;
      copy_rows(value + begin, key_stride, piece, width, padded, values + j * padded);
    }
    const size_t columns = (n + L - 1) / L;
    for (size_t v = 0; v < columns; v++) {
      const T* lanes[L];
      for (size_t l = 0; l < L; l++) lanes[l] = v * L + l < n ? place[v * L + l] : nullptr;
      to_lanes<T>(lanes, width, T(1), keys + v * width * L);
    }
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
