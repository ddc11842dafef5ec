// Segments, and the runs and columns of queries that they are cut into. Hot files only.
#pragma once
#include "../../core/kernel.h"
#include "matrices.h"

namespace g2rpo {

namespace {

constexpr size_t kRunLanes = 512;  // queries of a run, unless a single segment has more

/** Sizes of a call; strides are between rows. */
struct Shape {
  size_t rows, first;  // rows of keys; those before the first have no query
  size_t heads, key_heads, width, query_stride, key_stride;
  size_t group;   // query heads of a key head
  size_t even;    // width rounded up to 4: as rows of a product
  size_t padded;  // width in whole vectors: as columns of one
  bool causal;
};
template <class T, class Op> Shape shape_of(const Op& op) {
  Shape s;
  s.first = 0;
  if constexpr (requires { op.keys_before; }) s.first = op.keys_before;
  s.rows = s.first + op.query.dim[0], s.heads = op.query.dim[1], s.width = op.query.dim[2], s.key_heads = op.key.dim[1];
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

/** Cuts the segments from row `first` on into runs of at most `rows` rows; longer segments are cut too if `cut`, else are runs by themselves. */
template <class Op> size_t find_runs(const Op& op, size_t first, size_t rows, bool cut, Run* runs) {
  size_t count = 0;
  const size_t segments = op.segmentPrefix.size;
  int32_t last_prefix = -1;
  for (size_t z = 0; z < segments; z++) {
    const size_t begin = static_cast<size_t>(op.segmentStarts[z]), end = static_cast<size_t>(op.segmentStarts[z + 1]);
    if (begin == end || begin < first) continue;
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

/**
 * What the next item reads and writes, fetched row by row into the second-level cache while this one is computed: a processor does not look
 * ahead over rows that lie so far apart.
 */
class Ahead {
 public:
  /** Of rows [begin, end) `bytes` each. */
  template <class T> void add(const T* first, size_t begin, size_t end, size_t stride, size_t width) {
    parts_[count_++] = {reinterpret_cast<const char*>(first + begin * stride), stride * sizeof(T), width * sizeof(T)};
    rows_ = end - begin;
  }
  /** So that all of it is fetched in `steps` steps; of much only as much as a cache can hold beside what is in use. */
  void within(size_t steps) {
    size_t bytes = 0;
    for (size_t i = 0; i < count_; i++) bytes += parts_[i].bytes;
    rows_ = bytes > 0 ? least(rows_, kFetchedAhead / bytes) : 0;
    every_ = rows_ > 0 ? steps / rows_ : 0;
  }
  G2_INLINE void step() {
    if (rows_ == 0 || ++waited_ < every_) return;
    waited_ = 0;
    rows_--;
    for (size_t i = 0; i < count_; i++) {
      Part& p = parts_[i];
      for (size_t b = 0; b < p.bytes; b += 64) __builtin_prefetch(p.at + b, 0, 2);
      __builtin_prefetch(p.at + p.bytes - 1, 0, 2);
      p.at += p.stride;
    }
  }

 private:
  static constexpr size_t kFetchedAhead = 256 << 10;
  struct Part {
    const char* at;
    size_t stride, bytes;
  };
  Part parts_[8];
  size_t count_ = 0, rows_ = 0, every_ = 0, waited_ = 0;
};

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

/** Calls visit(lane, whether it is a query, row, head within the group) for the lanes of a column; one that is none has the last row. */
template <class T, class Visit> G2_INLINE void each_lane(const Column& c, size_t group, Visit&& visit) {
  size_t i = c.lane / group, h = c.lane % group;
  for (size_t l = 0; l < kLanes<T>; l++) {
    const bool there = i < c.rows;
    visit(l, there, c.begin + (there ? i : c.rows - 1), h);
    if (++h == group) h = 0, i++;
  }
}

/** Where the vectors of a column's queries lie in `data`, which begins with row `first`; null where there is no query. */
template <class T, class P>
void pointers(const Column& c, const Shape& s, size_t g, P* data, size_t stride, P* (&rows)[kLanes<T>]) {
  each_lane<T>(c, s.group, [&](size_t l, bool there, size_t row, size_t h) {
    rows[l] = there ? data + (row - s.first) * stride + (g * s.group + h) * s.width : nullptr;
  });
}

/** How many keys of its own segment each lane sees, as a number of T. */
template <class T> void find_limits(const Column* columns, size_t count, const Shape& s, T* limit) {
  for (size_t w = 0; w < count; w++)
    each_lane<T>(columns[w], s.group, [&](size_t l, bool, size_t row, size_t) {
      limit[w * kLanes<T> + l] = static_cast<T>(row - columns[w].segment_begin + 1);
    });
}

/** The keys and values of rows [begin, begin + n) of key head g, as rows of `even` elements; n is filled up with zeros to whole blocks of products. */
template <class T>
void take_tile(const Shape& s, const T* key, const T* value, size_t g, size_t begin, size_t n, T* keys, T* values) {
  const size_t offset = begin * s.key_stride + g * s.width;
  copy_rows(key + offset, s.key_stride, n, s.width, s.even, keys);
  copy_rows(value + offset, s.key_stride, n, s.width, s.even, values);
  zero(keys + n * s.even, (round_up(n, kRows) - n) * s.even);
  zero(values + n * s.even, (round_up(n, kRows) - n) * s.even);
}

}  // namespace

}  // namespace g2rpo
