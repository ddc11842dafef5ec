// The backward pass of one run: weights are computed anew from the scores and their log-sum. Hot files only.
#pragma once
#include "../../core/arena.h"
#include "functions.h"
#include "op.h"
#include "segments.h"

namespace g2rpo {

namespace {

constexpr size_t kTileBackward = 64;  // keys of a tile: there are two matrices of scores
constexpr size_t kBlock = 4;          // columns of such a matrix

/** A run's queries and what came back to them. */
template <class T> struct Returned {
  T* query;      // [column][width][lane], times scale · log₂e
  T* out;        // the gradients of the outputs, likewise, unscaled
  T* query_row;  // [lane][padded], unscaled
  T* out_row;
  T* d_query;  // [column][even][lane]
  T* total;    // log₂ of the sum of weights
  T* mean;     // do·o
  T* limit;
};

template <class T> struct Tile {
  T *keys, *values, *d_keys, *d_values;  // [key][even] and [key][padded]
  T *weight, *slope;                     // [key][kBlock vectors]: p and ds
};

constexpr int kBackColumns = 2;  // of the products that weights and slopes are made of

/** p = 2^(q·k − total) and ds = p·(do·v − mean) of kRows rows from j on and N columns, made of products in registers; of rows from `open` on only what a lane sees. */
template <class T, int N, bool kOpen>
G2_INLINE void weigh(const Shape& s, const Returned<T>& q, size_t w, const Tile<T>& t, size_t j, size_t open, const Vec<T> (&limit)[N], size_t at, T* weight, T* slope) {
  constexpr size_t L = kLanes<T>, ld = kBlock * L;
  const size_t column = s.width * L;
  // value(r, n, what the lanes of column n have in `of`) of every row and column goes to `to`, but for what is not seen
  const auto store = [&](T* to, const T* of, auto&& value) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int n = 0; n < N; n++) {
      const Vec<T> own = simd::load(of + (w + n) * L);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; r++) {
        Vec<T> x = value(r, n, own);
        if (kOpen && j + r >= open) x = simd::splat(static_cast<T>(at + j + r)) < limit[n] ? x : Vec<T>{};
        simd::store(to + (j + r) * ld + n * L, x);
      }
    }
  };
  Vec<T> score[kRows][N] = {};
  accumulate<T, kRows, N, false>(s.width, t.keys + j * s.even, s.even, q.query + w * column, L, column, score);
  store(weight, q.total, [&](int r, int n, Vec<T> total) __attribute__((always_inline)) { return exp2(score[r][n] - total); });
  Vec<T> back[kRows][N] = {};
  accumulate<T, kRows, N, false>(s.width, t.values + j * s.even, s.even, q.out + w * column, L, column, back);
  store(slope, q.mean, [&](int r, int n, Vec<T> mean) __attribute__((always_inline)) { return simd::load(weight + (j + r) * ld + n * L) * (back[r][n] - mean); });
}

/** The same for the n rows of a tile. */
template <class T, int N>
__attribute__((noinline)) void weigh_all(const Shape& s, const Returned<T>& q, size_t w, const Tile<T>& t, size_t n, size_t open, size_t at, T* weight, T* slope, Ahead& ahead) {
  Vec<T> limit[N];
  for (int v = 0; v < N; v++) limit[v] = open < n ? simd::load(q.limit + (w + v) * kLanes<T>) : Vec<T>{};
  size_t j = 0;
  for (; j + kRows <= open; j += kRows, ahead.step()) weigh<T, N, false>(s, q, w, t, j, open, limit, at, weight, slope);
  for (; j < round_up(n, kRows); j += kRows, ahead.step()) weigh<T, N, true>(s, q, w, t, j, open, limit, at, weight, slope);
}

/** `count` ≤ kBlock columns against the n keys of a tile, of which keys from `open` on are not seen by every lane. */
template <class T>
void meet_back(const Shape& s, const Returned<T>& q, size_t w, size_t count, const Tile<T>& t, size_t n, size_t open, size_t at, Ahead& ahead) {
  constexpr size_t L = kLanes<T>, ld = kBlock * L;
  size_t v = 0;
  for (; v + kBackColumns <= count; v += kBackColumns) weigh_all<T, kBackColumns>(s, q, w + v, t, n, open, at, t.weight + v * L, t.slope + v * L, ahead);
  if (v < count) weigh_all<T, 1>(s, q, w + v, t, n, open, at, t.weight + v * L, t.slope + v * L, ahead);
  product<T, true, true>(s.even, count, n, t.keys, s.even, t.slope, ld, L, q.d_query + w * s.even * L, L, s.even * L);
  product_of_rows<T>(n, s.width, count * L, t.weight, ld, q.out_row + w * L * s.padded, t.d_values);
  product_of_rows<T>(n, s.width, count * L, t.slope, ld, q.query_row + w * L * s.padded, t.d_keys);
}

/** do·o of the lanes of a column. */
template <class T> Vec<T> row_products(const T* const (&a)[kLanes<T>], const T* const (&b)[kLanes<T>], size_t width) {
  constexpr size_t L = kLanes<T>;
  Vec<T> sum[L];
  for (size_t l = 0; l < L; l++) {
    Vec<T> x = Vec<T>{};
    if (a[l]) {
      const size_t whole = width / L * L;
      for (size_t d = 0; d < whole; d += L) x = simd::fma(simd::load(a[l] + d), simd::load(b[l] + d), x);
      if (whole < width) x = simd::fma(simd::load_n(a[l] + whole, width - whole), simd::load_n(b[l] + whole, width - whole), x);
    }
    sum[l] = x;
  }
  transpose<T>(sum);
  for (size_t n = L / 2; n > 0; n /= 2)
    for (size_t l = 0; l < n; l++) sum[l] += sum[l + n];
  return sum[0];
}

/** What key head g of `next` will want while `run` is computed. */
template <class T> Ahead ahead_of(const AttentionBackward<T>& op, const Shape& s, const Run& run, const Run& next, size_t g) {
  Ahead ahead;
  const size_t heads = s.heads * s.width, own = s.group * s.width;
  const auto add = [&](const T* data, size_t stride, size_t width) { ahead.add(data + g * width, next.begin, next.end, stride, width); };
  add(op.query.data, s.query_stride, own);
  add(op.key.data, s.key_stride, s.width);
  add(op.value.data, s.key_stride, s.width);
  add(op.dOutput.data, heads, own);
  add(op.output.data, heads, own);
  add(op.dQuery.data, s.query_stride, own);
  add(op.dKey.data, s.key_stride, s.width);
  add(op.dValue.data, s.key_stride, s.width);
  const size_t rows = run.end - run.begin, keys = (s.causal ? rows / 2 : rows) / static_cast<size_t>(run.last - run.first) + run.prefix_end - run.prefix_begin;
  ahead.within(rows * s.group / (kLanes<T> * kBackColumns) * (keys / kRows));
  return ahead;
}

template <class T> void backward_run(const AttentionBackward<T>& op, const Shape& s, const Run& run, size_t g, T* partial, Ahead ahead) {
  constexpr size_t L = kLanes<T>;
  Scratch scratch;
  Column* columns = scratch.take<Column>(column_bound<T>(run, s.group));
  const size_t count = find_columns<T>(op.segmentStarts, run, s.group, columns);
  Returned<T> q;
  q.query = scratch.take<T>(count * s.width * L);
  q.out = scratch.take<T>(count * s.width * L);
  q.query_row = scratch.take<T>(count * L * s.padded);
  q.out_row = scratch.take<T>(count * L * s.padded);
  q.d_query = scratch.take<T>(count * s.even * L);
  q.total = scratch.take<T>(count * L);
  q.mean = scratch.take<T>(count * L);
  q.limit = scratch.take<T>(count * L);
  Tile<T> t;
  t.keys = scratch.take<T>(kTileBackward * s.even + L);
  t.values = scratch.take<T>(kTileBackward * s.even + L);
  t.d_keys = scratch.take<T>(kTileBackward * s.padded);
  t.d_values = scratch.take<T>(kTileBackward * s.padded);
  t.weight = scratch.take<T>(kTileBackward * kBlock * L);
  t.slope = scratch.take<T>(kTileBackward * kBlock * L);
  zero(q.d_query, count * s.even * L);
  for (size_t w = 0; w < count; w++) {
    const T *query[L], *d_out[L], *out[L];
    pointers<T>(columns[w], s, g, op.query.data, s.query_stride, query);
    pointers<T>(columns[w], s, g, op.dOutput.data, s.heads * s.width, d_out);
    pointers<T>(columns[w], s, g, op.output.data, s.heads * s.width, out);
    to_lanes<T>(query, s.width, static_cast<T>(op.scale * kLog2E), q.query + w * s.width * L);
    to_lanes<T>(d_out, s.width, T(1), q.out + w * s.width * L);
    for (size_t l = 0; l < L; l++) {
      T *a = q.query_row + (w * L + l) * s.padded, *b = q.out_row + (w * L + l) * s.padded;
      if (query[l]) widen_row(query[l], s.width, a), widen_row(d_out[l], s.width, b);
      else zero(a, s.padded), zero(b, s.padded);
    }
    simd::store(q.mean + w * L, row_products<T>(d_out, out, s.width));
    each_lane<T>(columns[w], s.group, [&](size_t l, bool there, size_t row, size_t h) {
      q.total[w * L + l] = there ? op.logSumExp[row * s.heads + g * s.group + h] * static_cast<T>(kLog2E) : T(0);
    });
  }
  if (s.causal) find_limits(columns, count, s, q.limit);

  // columns [from, to) against rows [begin, end), whose gradients go to `d_key` and `d_value`
  const auto visit = [&](size_t from, size_t to, size_t begin, size_t end, bool own, T* d_key, T* d_value, size_t stride) {
    for (size_t at = 0; at < end - begin; at += kTileBackward) {
      const size_t tile = least(kTileBackward, end - begin - at);
      take_tile(s, op.key.data, op.value.data, g, begin + at, tile, t.keys, t.values);
      zero(t.d_keys, round_up(tile, 4) * s.padded);
      zero(t.d_values, round_up(tile, 4) * s.padded);
      for (size_t w = from; w < to; w += kBlock) {
        const size_t width = least(to - w, kBlock);
        size_t n = tile, open = tile;
        if (own && s.causal) {
          const size_t least_seen = static_cast<size_t>(q.limit[w * L]), most_seen = static_cast<size_t>(q.limit[(w + width) * L - 1]);
          if (most_seen <= at) continue;
          n = least(tile, most_seen - at);
          open = least_seen <= at ? 0 : least(n, least_seen - at);
        }
        meet_back(s, q, w, width, t, n, open, at, ahead);
      }
      give_rows<T, false>(t.d_keys, s.padded, tile, s.width, static_cast<T>(op.scale), d_key + at * stride, stride);
      give_rows<T, false>(t.d_values, s.padded, tile, s.width, T(1), d_value + at * stride, stride);
    }
  };
  const size_t length = run.prefix_end - run.prefix_begin;
  if (length > 0) visit(0, count, run.prefix_begin, run.prefix_end, false, partial, partial + length * s.padded, s.padded);
  for (size_t from = 0, to; from < count; from = to) {
    const size_t begin = columns[from].begin;
    for (to = from + 1; to < count && columns[to].begin == begin; to++) {}
    const size_t offset = begin * s.key_stride + g * s.width;
    visit(from, to, begin, begin + columns[from].rows, true, op.dKey.data + offset, op.dValue.data + offset, s.key_stride);
  }

  for (size_t w = 0; w < count; w++) {
    T* rows[L];
    pointers<T>(columns[w], s, g, op.dQuery.data, s.query_stride, rows);
    to_rows<T>(q.d_query + w * s.even * L, s.width, simd::splat(static_cast<T>(op.scale)), rows);
  }
}

}  // namespace

}  // namespace g2rpo
