// The forward pass of one run: softmax is renormalised tile by tile, so that no row of scores is ever whole. Hot files only.
#pragma once
#include "../../core/arena.h"
#include "functions.h"
#include "op.h"
#include "segments.h"

namespace g2rpo {

namespace {

constexpr size_t kTile = kAttentionTile;

/** What a run keeps while it meets the keys. */
template <class T> struct Queries {
  T* query;  // [column][width][lane], times scale · log₂e
  T* out;    // [column][even][lane], not yet divided by sum
  T* top;    // largest score so far
  T* sum;    // of 2^(score − top)
  T* limit;
};

/** Scores of R keys, and the largest of those that `seen` lets pass. */
template <class T, int R, int N, class Seen>
G2_INLINE void score_rows(size_t width, const T* keys, size_t even, const T* query, size_t column, T* score, Vec<T> (&top)[N], Seen&& seen) {
  constexpr size_t L = kLanes<T>;
  Vec<T> sum[R][N] = {};
  accumulate<T, R, N, false>(width, keys, even, query, L, column, sum);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int n = 0; n < N; n++) {
      simd::store(score + (r * N + n) * L, sum[r][n]);
      top[n] = seen(r, n, simd::max(top[n], sum[r][n]), top[n]);
    }
}

/** N columns against the n keys of a tile, of which keys from `open` on are not seen by every lane. */
template <class T, int N>
void meet(const Shape& s, const Queries<T>& q, size_t w, const T* keys, const T* values, size_t n, size_t open, size_t at, bool first, T* score, Ahead& ahead) {
  constexpr size_t L = kLanes<T>, ld = N * L;
  Vec<T> top[N], sum[N], limit[N];
  for (int v = 0; v < N; v++) {
    top[v] = first ? simd::splat(-static_cast<T>(__builtin_inf())) : simd::load(q.top + (w + v) * L);
    limit[v] = open < n ? simd::load(q.limit + (w + v) * L) : Vec<T>{};
  }
  const T* query = q.query + w * s.width * L;
  size_t j = 0;
  for (; j + kRows <= open; j += kRows, ahead.step())
    score_rows<T, kRows, N>(s.width, keys + j * s.even, s.even, query, s.width * L, score + j * ld, top, [](int, int, Vec<T> larger, Vec<T>) { return larger; });
  for (; j < n; j += 4, ahead.step())
    score_rows<T, 4, N>(s.width, keys + j * s.even, s.even, query, s.width * L, score + j * ld, top, [&](int r, int v, Vec<T> larger, Vec<T> before) {
      const size_t row = j + static_cast<size_t>(r);
      if (row < open) return larger;
      return simd::splat(static_cast<T>(at + row)) < limit[v] ? larger : before;
    });
  for (int v = 0; v < N; v++) {
    if (first) {
      sum[v] = Vec<T>{};
    } else {
      const Vec<T> fade = exp2(simd::load(q.top + (w + v) * L) - top[v]);
      sum[v] = simd::load(q.sum + (w + v) * L) * fade;
      T* out = q.out + (w + v) * s.even * L;
      for (size_t d = 0; d < s.even; d++) simd::store(out + d * L, simd::load(out + d * L) * fade);
    }
  }
  for (j = 0; j < open; j++)
    for (int v = 0; v < N; v++) {
      const Vec<T> p = exp2(simd::load(score + j * ld + v * L) - top[v]);
      sum[v] += p;
      simd::store(score + j * ld + v * L, p);
    }
  for (; j < n; j++)
    for (int v = 0; v < N; v++) {
      Vec<T> p = exp2(simd::load(score + j * ld + v * L) - top[v]);
      p = simd::splat(static_cast<T>(at + j)) < limit[v] ? p : Vec<T>{};
      sum[v] += p;
      simd::store(score + j * ld + v * L, p);
    }
  for (int v = 0; v < N; v++) {
    simd::store(q.top + (w + v) * L, top[v]);
    simd::store(q.sum + (w + v) * L, sum[v]);
  }
  T* out = q.out + w * s.even * L;
  if (first) product<T, false, true>(s.even, N, n, values, s.even, score, ld, L, out, L, s.even * L);
  else product<T, true, true>(s.even, N, n, values, s.even, score, ld, L, out, L, s.even * L);
}

/** What key head g of `next` will want while `run` is computed. */
template <class T> Ahead ahead_of(const Attention<T>& op, const Shape& s, const Run& run, const Run& next, size_t g) {
  Ahead ahead;
  const size_t own = s.group * s.width;
  ahead.add(op.query.data + g * own, next.begin - s.first, next.end - s.first, s.query_stride, own);
  ahead.add(op.key.data + g * s.width, next.begin, next.end, s.key_stride, s.width);
  ahead.add(op.value.data + g * s.width, next.begin, next.end, s.key_stride, s.width);
  ahead.add(op.output.data + g * own, next.begin - s.first, next.end - s.first, s.heads * s.width, own);
  const size_t rows = run.end - run.begin, segments = run.last - run.first;
  ahead.within(rows * s.group / kLanes<T> / kColumns * (run.prefix_end - run.prefix_begin + rows / segments) / kTile * (kTile / kRows));
  return ahead;
}

template <class T> void forward_run(const Attention<T>& op, const Shape& s, const Run& run, size_t g, Ahead ahead) {
  constexpr size_t L = kLanes<T>;
  Scratch scratch;
  Column* columns = scratch.take<Column>(column_bound<T>(run, s.group));
  const size_t count = find_columns<T>(op.segmentStarts, run, s.group, columns);
  Queries<T> q;
  q.query = scratch.take<T>(count * s.width * L);
  q.out = scratch.take<T>(count * s.even * L);
  q.top = scratch.take<T>(count * L);
  q.sum = scratch.take<T>(count * L);
  q.limit = scratch.take<T>(count * L);
  T* keys = scratch.take<T>(kTile * s.even + L);
  T* values = scratch.take<T>(kTile * s.even + L);
  T* score = scratch.take<T>(kTile * kColumns * L);
  for (size_t w = 0; w < count; w++) {
    const T* rows[L];
    pointers<T>(columns[w], s, g, op.query.data, s.query_stride, rows);
    to_lanes<T>(rows, s.width, static_cast<T>(op.scale * kLog2E), q.query + w * s.width * L);
  }
  if (s.causal) find_limits(columns, count, s, q.limit);

  // columns [from, to) against rows [begin, end); `own` if these rows are their own segment
  const auto visit = [&](size_t from, size_t to, size_t begin, size_t end, bool own, bool first) {
    for (size_t at = 0; at < end - begin; at += kTile) {
      const size_t tile = least(kTile, end - begin - at);
      if (own && s.causal && static_cast<T>(at) >= q.limit[to * L - 1]) break;
      take_tile(s, op.key.data, op.value.data, g, begin + at, tile, keys, values);
      for (size_t w = from, width; w < to; w += width) {
        width = to - w >= kColumns && to - w != 4 ? kColumns : least(to - w, 2);
        size_t n = tile, open = tile;
        if (own && s.causal) {
          const size_t least_seen = static_cast<size_t>(q.limit[w * L]), most_seen = static_cast<size_t>(q.limit[(w + width) * L - 1]);
          if (most_seen <= at) continue;
          n = least(tile, most_seen - at);
          open = least_seen <= at ? 0 : least(n, least_seen - at);
        }
        if (width == 3) meet<T, kColumns>(s, q, w, keys, values, n, open, at, first && at == 0, score, ahead);
        else if (width == 2) meet<T, 2>(s, q, w, keys, values, n, open, at, first && at == 0, score, ahead);
        else meet<T, 1>(s, q, w, keys, values, n, open, at, first && at == 0, score, ahead);
      }
    }
  };
  const bool alone = run.prefix_begin == run.prefix_end;
  visit(0, count, run.prefix_begin, run.prefix_end, false, true);
  for (size_t from = 0, to; from < count; from = to) {
    const size_t segment = columns[from].segment_begin;
    for (to = from + 1; to < count && columns[to].segment_begin == segment; to++) {}
    visit(from, to, segment, columns[from].segment_end, true, alone);
  }

  for (size_t w = 0; w < count; w++) {
    T* rows[L];
    pointers<T>(columns[w], s, g, op.output.data, s.heads * s.width, rows);
    const Vec<T> sum = simd::load(q.sum + w * L);
    to_rows<T>(q.out + w * s.even * L, s.width, 1 / sum, rows);
    const Vec<T> total = simd::fma(simd::load(q.top + w * L), simd::splat(static_cast<T>(kLn2)), log<T>(sum));
    each_lane<T>(columns[w], s.group, [&](size_t l, bool there, size_t row, size_t h) {
      if (there) op.logSumExp[(row - s.first) * s.heads + g * s.group + h] = total[l];
    });
  }
}

}  // namespace

}  // namespace g2rpo
