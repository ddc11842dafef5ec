// Rows that move by index: the check of indices, copies, and additions whose order does not depend on how blocks run.
#pragma once
#include "../../core/checks.h"
#include "rows.h"

namespace g2rpo::cuda {

/** Where an op's indices must lie; −1 stands for none where `lowest` is −1. */
struct IndexRange {
  int32_t lowest;
  size_t count;
  Refusal refusal;

  /** Whether index k is that of a row; one out of range is refused. */
  __device__ bool holds(size_t k, int32_t index) const {
    if (index >= 0 && static_cast<size_t>(index) < count) return true;
    if (index >= 0 || index < lowest) refusal.at(k, index);
    return false;
  }
};
inline IndexRange index_range(Stream& stream, const char* kernel, const char* name, size_t count, int32_t lowest = 0) {
  return {lowest, count, refusal(stream, "INVALID_ARGUMENT", [=](size_t k, const auto& values) -> std::string {
            return IndexMessage(kernel, name, k, lowest, count, values[0]).text;
          })};
}

/** One side of a move: row index[k], or row k where there are no indices. */
struct RowIndices {
  const int32_t* index = nullptr;
  IndexRange range{};

  __device__ bool find(size_t k, size_t& row) const {
    row = index && range.holds(k, index[k]) ? static_cast<size_t>(index[k]) : k;
    return !index || (index[k] >= 0 && static_cast<size_t>(index[k]) < range.count);
  }
};

/** Rows of T, of bf16 where F is. */
template <class T, class F = T> struct RowMove {
  const F* from;
  RowIndices source;
  T* to;
  RowIndices target;
  size_t count, width;
  bool add;
  /** the first k of every target row, or null; the others are refused */
  const int32_t* owner;
  Refusal twice;
};

template <class T, class F, class Rows> __global__ void __launch_bounds__(Rows::kBlock) move_row(RowMove<T, F> m) {
  const size_t k = Rows::row();
  if (k >= m.count) return;
  size_t from, to;
  const bool moves = m.source.find(k, from);
  if (!m.target.find(k, to)) return;
  if (m.owner && m.owner[to] != static_cast<int32_t>(k)) return m.twice.at(k, static_cast<int32_t>(to));
  const Row<F, Rows> row(moves ? m.from + from * m.width : nullptr, m.width);
  Rows::each(m.width, [&](int j, size_t i) {
    T* at = m.to + to * m.width + i;
    Pack<T, Rows::W> v{};
    if (moves) {
      const auto found = row.at(j, i);
      for (int w = 0; w < Rows::W; w++) v.x[w] = widened(found.x[w]);
    }
    if (m.add) {
      const auto held = load<Rows::W>(at);
      for (int w = 0; w < Rows::W; w++) v.x[w] = held.x[w] + v.x[w];
    }
    store<Rows::W>(at, v);
  });
}

/** Row k of the target becomes that of the source, or is added to, for k = 0…count−1; a source of −1 is a row of zeros. */
template <class T, class F = T> void move_rows(Stream& stream, const RowMove<T, F>& m) {
  if (m.count == 0) return;
  with_row_team<T>(m.width, aligned(m.from, m.to), [&]<class Rows>(Rows) {
    launch(stream, move_row<T, F, Rows>, blocks_for(m.count, Rows::kRows), Rows::kBlock, m);
  });
}

/** k = 0…count−1 by key, equals in the order of k. */
struct SortedKeys {
  SortedKeys(Stream& stream, size_t count) : keys(stream, count), order(stream, count), count(count) {}
  /** Sorts keys that are not negative and below `bound`. */
  void sort(Stream& stream, const int32_t* unsorted, size_t bound);

  Temporary<int32_t> keys, order;
  size_t count;
};

/** What an ordered addition reads: to[target[k]] += share[k] · from[source[k] or k / each], for k = 0…count−1. */
template <class T> struct RowAdditions {
  const T* from;
  const int32_t* source;
  size_t each;
  const T* shares;  // or null: 1
  T* to;
  size_t count, width;
};

constexpr size_t kPiece = 32;  // additions to one thread, whatever rows they belong to

/** Places of a sorted list: what belongs to one row and lies in one piece is added by a thread of its own. */
struct Pieces {
  const int32_t *keys, *order;
  size_t count;
  int32_t none;  // key of what is added to nothing

  __device__ bool begins(size_t place) const { return place == 0 || keys[place - 1] != keys[place]; }
  __device__ bool goes_on(size_t last) const { return last + 1 < count && keys[last + 1] == keys[last]; }
};

template <class T, int W> __device__ void add_pack(T* to, Pack<T, W> held, const Pack<T, W>& sum) {
  for (int w = 0; w < W; w++) held.x[w] += sum.x[w];
  store<W>(to, held);
}

/** Block (x, y): piece x, columns of part y. Rows that reach over the end of a piece leave sums: of their beginning, or of what goes on. */
template <class T, int W> __global__ void add_pieces(Pieces p, RowAdditions<T> a, T* beginnings, T* rests) {
  const size_t column = (static_cast<size_t>(blockIdx.y) * blockDim.x + threadIdx.x) * W;
  const size_t begin = blockIdx.x * kPiece, end = begin + kPiece < p.count ? begin + kPiece : p.count;
  if (column >= a.width) return;
  constexpr int kAhead = 4;
  Pack<T, W> sum{};
  bool whole = p.begins(begin);
  for (size_t at = begin; at < end; at += kAhead) {
    Pack<T, W> ahead[kAhead] = {}, held[kAhead] = {};  // held: what the row has that a place is the last of
    T share[kAhead] = {};
    for (int i = 0; i < kAhead; i++) {
      if (at + i >= end || p.keys[at + i] == p.none) continue;
      const size_t k = static_cast<size_t>(p.order[at + i]);
      ahead[i] = load<W>(a.from + (a.source ? static_cast<size_t>(a.source[k]) : k / a.each) * a.width + column);
      share[i] = a.shares ? a.shares[k] : T(1);
      if (at + i + 1 == end || p.keys[at + i + 1] != p.keys[at + i]) held[i] = load<W>(a.to + static_cast<size_t>(p.keys[at + i]) * a.width + column);
    }
    for (int i = 0; i < kAhead; i++) {
      const size_t place = at + i;
      if (place >= end || p.keys[place] == p.none) return;  // none is the last of all keys
      for (int w = 0; w < W; w++) sum.x[w] = fma(ahead[i].x[w], share[i], sum.x[w]);
      const bool last = place + 1 == end;
      if (!last && p.keys[place + 1] == p.keys[place]) continue;
      const bool on = last && p.goes_on(place);
      if (whole && !on) add_pack(a.to + static_cast<size_t>(p.keys[place]) * a.width + column, held[i], sum);
      else store<W>((whole ? beginnings : rests) + blockIdx.x * a.width + column, sum);
      sum = {}, whole = true;
    }
  }
}

/** Block (x, y): the row that begins in piece x and goes on behind its end, columns of part y. */
template <class T, int W> __global__ void add_rests(Pieces p, RowAdditions<T> a, const T* beginnings, const T* rests) {
  const size_t column = (static_cast<size_t>(blockIdx.y) * blockDim.x + threadIdx.x) * W;
  size_t piece = blockIdx.x, last = piece * kPiece + kPiece - 1;
  if (column >= a.width || last >= p.count || p.keys[last] == p.none || !p.goes_on(last)) return;
  const int32_t key = p.keys[last];
  if (p.keys[piece * kPiece] == key && !p.begins(piece * kPiece)) return;  // begins before
  auto sum = load<W>(beginnings + piece * a.width + column);
  do {
    const auto rest = load<W>(rests + ++piece * a.width + column);
    for (int w = 0; w < W; w++) sum.x[w] += rest.x[w];
    last = piece * kPiece + kPiece - 1;
  } while (last < p.count && p.keys[last] == key && p.goes_on(last));
  T* const to = a.to + static_cast<size_t>(key) * a.width + column;
  add_pack(to, load<W>(to), sum);
}

/** The additions to a row are made in the order of k, in pieces that their number alone decides. `keys`: targets, `rows` for none. */
template <class T> void add_in_order(Stream& stream, int32_t* keys, size_t rows, const RowAdditions<T>& a) {
  SortedKeys sorted(stream, a.count);
  sorted.sort(stream, keys, rows + 1);
  const unsigned pieces = blocks_for(a.count, kPiece);
  Temporary<T> beginnings(stream, pieces * a.width), rests(stream, pieces * a.width);
  const Pieces p{sorted.keys.get(), sorted.order.get(), a.count, static_cast<int32_t>(rows)};
  with_pack<T>(a.width, aligned(a.from, a.to), [&]<int W>(std::integral_constant<int, W>) {
    const unsigned threads = threads_for(a.width / W);
    const dim3 grid(pieces, blocks_for(a.width / W, threads));
    launch(stream, add_pieces<T, W>, grid, threads, p, a, beginnings.get(), rests.get());
    launch(stream, add_rests<T, W>, grid, threads, p, a, beginnings.get(), rests.get());
  });
}

/** keys[k] = target[k], or the number of target rows where it or source[k] is no row. */
void find_targets(Stream& stream, const RowIndices& target, const RowIndices& source, size_t count, int32_t* keys);

/** to[target[k]] += from[source[k]], where there are no sources from[k], in the order of k. */
template <class T> void add_rows(Stream& stream, const T* from, const RowIndices& source, T* to, const RowIndices& target, size_t count, size_t width) {
  if (count == 0) return;
  Temporary<int32_t> keys(stream, count);
  find_targets(stream, target, source, count, keys.get());
  if (width > 0) add_in_order<T>(stream, keys.get(), target.range.count, {from, source.index, 1, nullptr, to, count, width});
}

}  // namespace g2rpo::cuda
