// hot
// Everything is a product of few rows, broadcast, by many lanes. The lanes are queries: H/G heads of a row lie side by side,
// so that all heads of a key head share its keys, and softmax runs down columns without crossing lanes. A run is a few
// segments behind one prefix; their queries are transposed once and meet the keys tile by tile.
#include "../../backends/cpu/simd.h"
#include "../../core/arena.h"
#include "op.h"

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
constexpr size_t kTile = 128;         // keys of a tile in the forward pass
constexpr size_t kTileBackward = 64;  // and in the backward pass, which holds two matrices of scores
constexpr size_t kBlock = 4;          // columns of such a matrix
constexpr size_t kRunLanes = 512;     // queries of a run, unless a single segment has more
constexpr size_t kDecodeRows = 64;    // the same for rows that are decoded together

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
constexpr size_t least(size_t a, size_t b) { return a < b ? a : b; }

// ---- products ----

/** c(r, ·) = or += Σₖ a(r, k) · b(k, ·), in registers; a(r, k) is a[r + k·stride] if kAcross, else a[r·stride + k]. */
template <class T, int R, int N, bool kAdd, bool kAcross>
G2_INLINE void small_product(size_t depth, const T* a, size_t stride, const T* b, size_t b_step, size_t b_column, T* c, size_t c_row,
                             size_t c_column) {
  Vec<T> sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int n = 0; n < N; n++) sum[r][n] = kAdd ? simd::load(c + r * c_row + n * c_column) : Vec<T>{};
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

// ---- transposes and copies ----

template <int... l> struct Lanes {};
/** Exchanges the upper right and the lower left blocks of size s. */
template <int s, class V, int... l> G2_INLINE void exchange(V& a, V& b, Lanes<l...>) {
  constexpr int n = sizeof...(l);
  const V upper = __builtin_shufflevector(a, b, ((l & s) ? n + l - s : l)...);
  b = __builtin_shufflevector(a, b, ((l & s) ? n + l : l + s)...);
  a = upper;
}
template <int s, class T> G2_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) {
  if constexpr (s > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < static_cast<int>(kLanes<T>); i++)
      if (!(i & s)) exchange<s>(v[i], v[i + s], Lanes<__integer_pack(static_cast<int>(kLanes<T>))...>{});
    transpose<s / 2, T>(v);
  }
}
template <class T> G2_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) { transpose<static_cast<int>(kLanes<T>) / 2, T>(v); }

/** out[d][lane] = factor · rows[lane][d]; a missing row is 0. */
template <class T> void to_lanes(const T* const (&rows)[kLanes<T>], size_t width, T factor, T* out) {
  constexpr size_t L = kLanes<T>;
  for (size_t d = 0; d < width; d += L) {
    const size_t n = least(width - d, L);
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

template <class T> void zero(T* data, size_t count) { __builtin_memset(data, 0, count * sizeof(T)); }

// ---- functions of vectors ----

constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.69314718055994531;

/** 2ˣ for x ≤ 0; relative error below 2e-7. From 2⁻¹²⁵ down it stays there: beside a weight of 1 that is nothing. */
G2_INLINE Vec<float> exp2(Vec<float> x) {
  x = simd::max(simd::splat(-125.0f), x);  // NaN stays NaN
  const Vec<float> shift = simd::splat(12582912.0f);
  const Vec<float> t = x + shift, r = x - (t - shift);
  // minimax on [−½, ½], exact at 0
  Vec<float> p = simd::splat(0x1.5d0366p-10f);
  p = simd::fma(p, r, simd::splat(0x1.3cf602p-7f));
  p = simd::fma(p, r, simd::splat(0x1.c6b3e4p-5f));
  p = simd::fma(p, r, simd::splat(0x1.ebf998p-3f));
  p = simd::fma(p, r, simd::splat(0x1.62e42cp-1f));
  p = simd::fma(p, r, simd::splat(1.0f));
  return (Vec<float>)((Mask<float>)p + ((Mask<float>)t << 23));
}
/** Relative error below 4e-16; not below 2⁻¹⁰²¹. */
G2_INLINE Vec<double> exp2(Vec<double> x) {
  x = simd::max(simd::splat(-1021.0), x);
  const Vec<double> shift = simd::splat(6755399441055744.0);
  const Vec<double> t = x + shift, r = (x - (t - shift)) * simd::splat(kLn2);
  Vec<double> p = simd::splat(1.0 / 6227020800);
  const double rest[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                         1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  for (double c : rest) p = simd::fma(p, r, simd::splat(c));
  return (Vec<double>)((Mask<double>)p + ((Mask<double>)t << 52));
}

/** ln x of normal positive x, NaN and infinity otherwise as they come: ln(2ᵉm) = e ln 2 + 2 artanh((m−1)/(m+1)), √½ ≤ m < √2. */
template <class T> G2_INLINE Vec<T> log(Vec<T> x) {
  constexpr int bits = sizeof(T) == 4 ? 23 : 52;
  const Mask<T> root = (Mask<T>)simd::splat(static_cast<T>(0.70710678118654752));
  const Mask<T> e = ((Mask<T>)x - root) >> bits;
  const Vec<T> m = (Vec<T>)((Mask<T>)x - (e << bits));
  const Vec<T> s = (m - 1) / (m + 1), q = s * s;
  Vec<T> p = Vec<T>{};
  for (int k = sizeof(T) == 4 ? 9 : 23; k > 0; k -= 2) p = simd::fma(p, q, simd::splat(static_cast<T>(2.0 / k)));
  const Vec<T> y = simd::fma(__builtin_convertvector(e, Vec<T>), simd::splat(static_cast<T>(kLn2)), p * s);
  return x < static_cast<T>(__builtin_inf()) ? y : x;
}

// ---- segments ----

/** Sizes of a call; strides are between rows. */
struct Shape {
  size_t rows, heads, key_heads, width, query_stride, key_stride;
  size_t group;   // query heads of a key head
  size_t even;    // width rounded up to 4: as rows of a product
  size_t padded;  // width in whole vectors: as columns of one
  bool causal;
};
template <class T, class Op> Shape shape_of(const Op& op) {
  Shape s;
  s.rows = op.query.dim[0], s.heads = op.query.dim[1], s.width = op.query.dim[2], s.key_heads = op.key.dim[1];
  s.query_stride = op.query_stride ? op.query_stride : s.heads * s.width;
  s.key_stride = op.key_stride ? op.key_stride : s.key_heads * s.width;
  s.group = s.key_heads ? s.heads / s.key_heads : 0;
  s.even = round_up(s.width, 4), s.padded = round_up(s.width, kLanes<T>);
  s.causal = op.causal;
  return s;
}

/** Says what is wrong with the arguments, or returns true. */
template <class Op> bool valid(Stream& stream, const Op& op, const Shape& s, const char* const (&message)[3]) {
  const size_t count = op.segmentPrefix.size;
  const bool grouped = s.rows == 0 || (s.group > 0 && s.heads % s.key_heads == 0);
  if (op.segmentStarts.size != count + 1 || !grouped) return fail(stream, "SHAPE_MISMATCH", message[0]), false;
  const int32_t* starts = op.segmentStarts.data;
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[count]) == s.rows;
  for (size_t z = 0; z < count && rising; z++) rising = starts[z] <= starts[z + 1];
  if (!rising) return fail(stream, "INVALID_ARGUMENT", message[1]), false;
  bool known = true;
  for (size_t z = 0; z < count && known; z++) {
    const int64_t p = op.segmentPrefix[z];
    known = p == -1 || (p >= 0 && p < static_cast<int64_t>(count) && p != static_cast<int64_t>(z) && op.segmentPrefix[static_cast<size_t>(p)] == -1);
  }
  if (!known) fail(stream, "INVALID_ARGUMENT", message[2]);
  return known;
}

/** Rows [begin, end) of segments [first, last) that have one prefix, or none. */
struct Run {
  size_t first, last, begin, end;
  size_t prefix_begin, prefix_end;
  size_t partial;   // backward: where its part of the prefix's gradients lies
  Run* next;        // backward: the next run that sees the same prefix
};

/** Cuts the segments into runs of at most `rows` rows; longer segments are cut too if `cut`, else are runs by themselves. */
template <class Op> size_t find_runs(const Op& op, size_t rows, bool cut, Run* runs) {
  size_t count = 0;
  const size_t segments = op.segmentPrefix.size;
  int32_t last_prefix = -1;
  for (size_t z = 0; z < segments; z++) {
    const size_t begin = static_cast<size_t>(op.segmentStarts[z]), end = static_cast<size_t>(op.segmentStarts[z + 1]);
    if (begin == end) continue;
    const int32_t p = op.segmentPrefix[z];
    if (p >= 0 && p == last_prefix && end - runs[count - 1].begin <= rows) {
      runs[count - 1].last = z + 1;
      runs[count - 1].end = end;
      continue;
    }
    last_prefix = p;
    size_t prefix_begin = 0, prefix_end = 0;
    if (p >= 0) prefix_begin = static_cast<size_t>(op.segmentStarts[static_cast<size_t>(p)]), prefix_end = static_cast<size_t>(op.segmentStarts[static_cast<size_t>(p) + 1]);
    for (size_t at = begin; at < end;) {
      const size_t stop = cut ? least(end, at + rows) : end;
      runs[count++] = {z, z + 1, at, stop, prefix_begin, prefix_end, 0, nullptr};
      at = stop;
    }
  }
  return count;
}

/** One vector of queries: lanes from `lane` on of the rows [begin, begin + rows) of a segment, H/G heads a row. */
struct Column {
  size_t begin, rows, lane;
  size_t segment_begin, segment_end;
};

/** The columns of a run; every segment begins with a new one. */
template <class T> size_t find_columns(const View<const int32_t>& starts, const Run& run, size_t group, Column* columns) {
  size_t count = 0;
  for (size_t z = run.first; z < run.last; z++) {
    const size_t segment = static_cast<size_t>(starts[z]), stop = static_cast<size_t>(starts[z + 1]);
    const size_t begin = segment > run.begin ? segment : run.begin, end = least(stop, run.end);
    for (size_t lane = 0; begin < end && lane < (end - begin) * group; lane += kLanes<T>) columns[count++] = {begin, end - begin, lane, segment, stop};
  }
  return count;
}
template <class T> size_t column_bound(const Run& run, size_t group) {
  return (run.end - run.begin) * group / kLanes<T> + (run.last - run.first);
}

/** Calls visit(lane, row, head within the group) for the lanes of a column that are queries; `rest(lane)` for the others. */
template <class T, class Visit> G2_INLINE void each_lane(const Column& c, size_t group, Visit&& visit) {
  size_t i = c.lane / group, h = c.lane % group;
  for (size_t l = 0; l < kLanes<T>; l++) {
    const bool there = i < c.rows;
    visit(l, there, c.begin + (there ? i : c.rows - 1), h);
    if (++h == group) h = 0, i++;
  }
}

/** Where the vectors of a column's queries lie in `data`; null where there is no query. */
template <class T, class P>
void pointers(const Column& c, const Shape& s, size_t g, P* data, size_t stride, P* (&rows)[kLanes<T>]) {
  each_lane<T>(c, s.group, [&](size_t l, bool there, size_t row, size_t h) {
    rows[l] = there ? data + row * stride + (g * s.group + h) * s.width : nullptr;
  });
}

/** How many keys of its own segment each lane sees, as a number of T. */
template <class T> void find_limits(const Column* columns, size_t count, const Shape& s, T* limit) {
  for (size_t w = 0; w < count; w++)
    each_lane<T>(columns[w], s.group, [&](size_t l, bool, size_t row, size_t) {
      limit[w * kLanes<T> + l] = static_cast<T>(row - columns[w].segment_begin + 1);
    });
}

// ---- forward ----

/** What a run keeps while it meets the keys. */
template <class T> struct Queries {
  T* query;  // [column][width][lane], times scale · log₂e
  T* out;    // [column][even][lane], not yet divided by sum
  T* top;    // largest score so far
  T* sum;    // of 2^(score − top)
  T* limit;
};

/** N columns against the n keys of a tile, of which keys from `open` on are not seen by every lane. */
template <class T, int N>
void meet(const Shape& s, const Queries<T>& q, size_t w, const T* keys, const T* values, size_t n, size_t open, size_t at, bool first, T* score) {
  constexpr size_t L = kLanes<T>, ld = N * L;
  product<T, false, false>(n, N, s.width, keys, s.even, q.query + w * s.width * L, L, s.width * L, score, ld, L);
  Vec<T> top[N], sum[N], limit[N];
  for (int v = 0; v < N; v++) {
    top[v] = first ? simd::splat(-static_cast<T>(__builtin_inf())) : simd::load(q.top + (w + v) * L);
    limit[v] = open < n ? simd::load(q.limit + (w + v) * L) : Vec<T>{};
  }
  Vec<T> other[N];
  for (int v = 0; v < N; v++) other[v] = top[v];
  size_t j = 0;
  for (; j + 2 <= open; j += 2)
    for (int v = 0; v < N; v++) {
      top[v] = simd::max(top[v], simd::load(score + j * ld + v * L));
      other[v] = simd::max(other[v], simd::load(score + (j + 1) * ld + v * L));
    }
  for (; j < open; j++)
    for (int v = 0; v < N; v++) top[v] = simd::max(top[v], simd::load(score + j * ld + v * L));
  for (; j < n; j++)
    for (int v = 0; v < N; v++) {
      const Vec<T> x = simd::max(top[v], simd::load(score + j * ld + v * L));
      top[v] = simd::splat(static_cast<T>(at + j)) < limit[v] ? x : top[v];
    }
  for (int v = 0; v < N; v++) {
    top[v] = simd::max(top[v], other[v]);
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

/** The keys and values of rows [begin, begin + n) of key head g, as rows of `even` elements; n is filled up to 4 with zeros. */
template <class T>
void take_tile(const Shape& s, const T* key, const T* value, size_t g, size_t begin, size_t n, T* keys, T* values) {
  const size_t offset = begin * s.key_stride + g * s.width;
  copy_rows(key + offset, s.key_stride, n, s.width, s.even, keys);
  copy_rows(value + offset, s.key_stride, n, s.width, s.even, values);
  zero(keys + n * s.even, (round_up(n, 4) - n) * s.even);
  zero(values + n * s.even, (round_up(n, 4) - n) * s.even);
}

template <class T> void forward_run(const Attention<T>& op, const Shape& s, const Run& run, size_t g) {
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
        if (width == 3) meet<T, kColumns>(s, q, w, keys, values, n, open, at, first && at == 0, score);
        else if (width == 2) meet<T, 2>(s, q, w, keys, values, n, open, at, first && at == 0, score);
        else meet<T, 1>(s, q, w, keys, values, n, open, at, first && at == 0, score);
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
      if (there) op.logSumExp[row * s.heads + g * s.group + h] = total[l];
    });
  }
}

// ---- backward ----

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

/** `count` ≤ kBlock columns against the n keys of a tile, of which keys from `open` on are not seen by every lane. */
template <class T>
void meet_back(const Shape& s, const Returned<T>& q, size_t w, size_t count, const Tile<T>& t, size_t n, size_t open, size_t at) {
  constexpr size_t L = kLanes<T>, ld = kBlock * L;
  product<T, false, false>(n, count, s.width, t.keys, s.even, q.query + w * s.width * L, L, s.width * L, t.weight, ld, L);
  product<T, false, false>(n, count, s.width, t.values, s.even, q.out + w * s.width * L, L, s.width * L, t.slope, ld, L);
  const size_t rows = round_up(n, 4);
  for (size_t v = 0; v < count; v++) {
    const Vec<T> total = simd::load(q.total + (w + v) * L), mean = simd::load(q.mean + (w + v) * L);
    T *weight = t.weight + v * L, *slope = t.slope + v * L;
    size_t j = 0;
    for (; j < open; j++) {
      const Vec<T> p = exp2(simd::load(weight + j * ld) - total);
      simd::store(weight + j * ld, p);
      simd::store(slope + j * ld, p * (simd::load(slope + j * ld) - mean));
    }
    if (j == rows) continue;
    const Vec<T> limit = open < n ? simd::load(q.limit + (w + v) * L) : Vec<T>{};
    for (; j < rows; j++) {
      const Mask<T> seen = simd::splat(static_cast<T>(at + j)) < limit;
      const Vec<T> p = seen ? exp2(simd::load(weight + j * ld) - total) : Vec<T>{};
      simd::store(weight + j * ld, p);
      simd::store(slope + j * ld, seen ? p * (simd::load(slope + j * ld) - mean) : Vec<T>{});
    }
  }
  product<T, true, true>(s.even, count, n, t.keys, s.even, t.slope, ld, L, q.d_query + w * s.even * L, L, s.even * L);
  const size_t wide = s.padded / L, depth = count * L;
  product<T, true, false>(n, wide, depth, t.weight, ld, q.out_row + w * L * s.padded, s.padded, L, t.d_values, s.padded, L);
  product<T, true, false>(n, wide, depth, t.slope, ld, q.query_row + w * L * s.padded, s.padded, L, t.d_keys, s.padded, L);
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

template <class T> void backward_run(const AttentionBackward<T>& op, const Shape& s, const Run& run, size_t g, T* partial) {
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
      if (query[l]) copy_rows(query[l], 0, 1, s.width, s.padded, a), copy_rows(d_out[l], 0, 1, s.width, s.padded, b);
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
        meet_back(s, q, w, width, t, n, open, at);
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

// ---- decode ----

/** The queries of one key head of a few rows with the same prefix; the lanes are keys here, or parts of a value. */
template <class T> struct Decoder {
  size_t width, even, padded, key_stride;
  T* query;  // [row][even], times scale · log₂e
  T* out;    // [row][padded]
  T *top, *sum;
  T *keys, *values, *score, *part, *fade;

  /** Rows [from, from + rows) meet n more keys. */
  void meet(size_t from, size_t rows, const T* key, const T* value, size_t n) {
    for (size_t at = 0; at < n; at += kTileBackward)
      meet_tile(from, rows, key + at * key_stride, value + at * key_stride, least(n - at, kTileBackward));
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
    product<T, false, false>(rows, columns, width, query + from * even, even, keys, L, width * L, score, kTileBackward, L);
    for (size_t r = 0; r < rows; r++) {
      T* x = score + r * kTileBackward;
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
    product<T, false, false>(rows, padded / L, n, score, kTileBackward, values, padded, L, part, padded, L);
    for (size_t r = 0; r < rows; r++)
      for (size_t d = 0; d < padded; d += L) {
        T* o = out + (from + r) * padded + d;
        simd::store(o, simd::fma(simd::load(o), simd::splat(fade[r]), simd::load(part + r * padded + d)));
      }
  }
};

}  // namespace

KERNEL_REAL(cpu, Attention) {
  const Shape s = shape_of<T>(op);
  if (!valid(stream, op, s,
             {"attention: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention: segmentStarts must rise from 0 to the number of rows",
              "attention: segmentPrefix must be -1 or another segment that has no prefix itself"}) ||
      s.rows == 0)
    return;
  const size_t rows = kRunLanes / s.group > 0 ? kRunLanes / s.group : 1;
  Scratch scratch;
  Run* runs = scratch.take<Run>(op.segmentPrefix.size + s.rows / rows);
  const size_t count = find_runs(op, rows, true, runs);
  // the last block of a long segment sees most and goes first
  parallel_for(stream, count * s.key_heads, [&](size_t i) {
    forward_run<T>(op, s, runs[count - 1 - i / s.key_heads], i % s.key_heads);
  });
}

KERNEL_REAL(cpu, AttentionBackward) {
  const Shape s = shape_of<T>(op);
  if (!valid(stream, op, s,
             {"attention_backward: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention_backward: segmentStarts must rise from 0 to the number of rows",
              "attention_backward: segmentPrefix must be -1 or another segment that has no prefix itself"}) ||
      s.rows == 0)
    return;
  const size_t segments = op.segmentPrefix.size;
  Scratch scratch;
  Run* runs = scratch.take<Run>(segments);
  const size_t count = find_runs(op, kRunLanes / s.group, false, runs);
  // the runs that see a prefix, in order; each leaves its part of the prefix's gradients, which are added in that order
  Run** first = scratch.take<Run*>(segments);
  Run** last = scratch.take<Run*>(segments);
  for (size_t z = 0; z < segments; z++) first[z] = last[z] = nullptr;
  size_t size = 0;
  for (size_t r = 0; r < count; r++) {
    Run& run = runs[r];
    if (run.prefix_begin == run.prefix_end) continue;
    const size_t p = static_cast<size_t>(op.segmentPrefix[run.first]);
    (last[p] ? last[p]->next : first[p]) = &run;
    last[p] = &run;
    run.partial = size;
    size += 2 * (run.prefix_end - run.prefix_begin) * s.padded;
  }
  T* partial = scratch.take<T>(size * s.key_heads);
  parallel_for(stream, count * s.key_heads, [&](size_t i) {
    const Run& run = runs[i / s.key_heads];
    const size_t g = i % s.key_heads;
    backward_run<T>(op, s, run, g, partial + g * size + run.partial);
  });
  if (size == 0) return;
  parallel_for(stream, segments * s.key_heads, [&](size_t i) {
    const size_t z = i / s.key_heads, g = i % s.key_heads;
    for (const Run* run = first[z]; run; run = run->next) {
      const size_t length = run->prefix_end - run->prefix_begin, to = run->prefix_begin * s.key_stride + g * s.width;
      const T* part = partial + g * size + run->partial;
      give_rows<T, true>(part, s.padded, length, s.width, T(1), op.dKey.data + to, s.key_stride);
      give_rows<T, true>(part + length * s.padded, s.padded, length, s.width, T(1), op.dValue.data + to, s.key_stride);
    }
  });
}

KERNEL_REAL(cpu, DecodeAttention) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2];
  const size_t prefix_rows = op.prefixKey.dim[0], key_heads = op.prefixKey.dim[1], capacity = op.ownKey.dim[1];
  if (batch > 0 && (key_heads == 0 || heads == 0 || heads % key_heads != 0))
    return fail(stream, "SHAPE_MISMATCH", "decode_attention: H must be a multiple of G");
  for (size_t b = 0; b < batch; b++) {
    const int64_t start = op.prefixStart[b], length = op.prefixLength[b], own = op.ownLength[b];
    if (start < 0 || length < 0 || start + length > static_cast<int64_t>(prefix_rows))
      return fail(stream, "INVALID_ARGUMENT", "decode_attention: prefixStart and prefixLength must lie inside the P rows of prefixKey");
    if (own < 0 || own > static_cast<int64_t>(capacity))
      return fail(stream, "INVALID_ARGUMENT", "decode_attention: ownLength must be in [0, C]");
  }
  if (batch == 0) return;
  constexpr size_t L = kLanes<T>;
  const size_t group = heads / key_heads;
  // a run is a few rows with the same prefix
  size_t* runs = nullptr;
  Scratch scratch;
  runs = scratch.take<size_t>(batch + 1);
  size_t count = 0;
  for (size_t b = 0; b < batch; b++)
    if (b == 0 || op.prefixStart[b] != op.prefixStart[b - 1] || op.prefixLength[b] != op.prefixLength[b - 1] ||
        (b - runs[count - 1] + 1) * group > kDecodeRows)
      runs[count++] = b;
  runs[count] = batch;
  parallel_for(stream, count * key_heads, [&](size_t item) {
    const size_t begin = runs[item / key_heads], g = item % key_heads, rows = (runs[item / key_heads + 1] - begin) * group;
    Scratch own;
    Decoder<T> d;
    d.width = width, d.even = round_up(width, 4), d.padded = round_up(width, L), d.key_stride = key_heads * width;
    d.query = own.take<T>(round_up(rows, 4) * d.even + 4 * d.even + L);
    d.out = own.take<T>(rows * d.padded);
    d.top = own.take<T>(rows);
    d.sum = own.take<T>(rows);
    d.keys = own.take<T>(round_up(kTileBackward, L) * width);
    d.values = own.take<T>(kTileBackward * d.padded + L);
    d.score = own.take<T>(round_up(rows, 4) * kTileBackward);
    d.fade = own.take<T>(rows);
    d.part = own.take<T>(round_up(rows, 4) * d.padded);
    zero(d.query, round_up(rows, 4) * d.even + 4 * d.even);
    zero(d.out, rows * d.padded);
    const T scale = static_cast<T>(op.scale * kLog2E);
    for (size_t r = 0; r < rows; r++) {
      d.top[r] = -static_cast<T>(__builtin_inf());
      d.sum[r] = 0;
      const T* q = op.query.data + ((begin + r / group) * heads + g * group + r % group) * width;
      for (size_t k = 0; k < width; k++) d.query[r * d.even + k] = q[k] * scale;
    }
    const size_t prefix = static_cast<size_t>(op.prefixStart[begin]) * d.key_stride + g * width;
    d.meet(0, rows, op.prefixKey.data + prefix, op.prefixValue.data + prefix, static_cast<size_t>(op.prefixLength[begin]));
    for (size_t b = begin; b < begin + rows / group; b++) {
      const size_t at = b * capacity * d.key_stride + g * width;
      d.meet((b - begin) * group, group, op.ownKey.data + at, op.ownValue.data + at, static_cast<size_t>(op.ownLength[b]));
    }
    for (size_t r = 0; r < rows; r++) {
      const T factor = d.sum[r] == 0 ? T(0) : 1 / d.sum[r];
      T* out = op.output.data + ((begin + r / group) * heads + g * group + r % group) * width;
      give_rows<T, false>(d.out + r * d.padded, 0, 1, width, factor, out, 0);
    }
  });
}

}  // namespace g2rpo
