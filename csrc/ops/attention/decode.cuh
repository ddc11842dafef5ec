// One new token per row against cached keys. Every table of keys is cut into splits of a fixed size, counted from its beginning; a warp meets one of
// them with a few queries, and what the warps leave is combined in the order of the splits. So a row's bits depend on nothing beside it, whatever
// the size of a page. Warps of a block have the same split and key head of rows that stand together: where these share a prefix, what one of
// them reads the others find in the first-level cache.
#pragma once
#include "../../backends/cuda/thin_product.h"
#include "messages.h"
#include "op.h"

namespace g2rpo::attention {

using cuda::Refusal;

constexpr uint32_t kSplit = kDecodeSplit;
constexpr int kDecodeQueries = 4;  // of a warp: they share the loads of its keys
constexpr unsigned kDecodeWarps = 4;
constexpr int kBatch = 2;          // keys that a thread has under way at a time
/** That splits leave at a time, so that it stays in the second-level cache: a launch takes as many rows. */
constexpr size_t kPartialBytes = size_t{32} << 20;

/** Some keys: pages and how many there are. */
struct Keys {
  const int32_t* pages;
  uint32_t count;
  __device__ uint32_t splits() const { return (count + kSplit - 1) / kSplit; }
};

/** Where the keys of every row lie. */
struct Tables {
  const int32_t *prefix, *prefix_pages, *prefix_length, *own_pages, *own_length;
  size_t prefixes, prefix_room, own_room;  // lines, and pages of a line
  size_t pages;                            // that are there
  uint32_t page;                           // keys of one
  const int32_t* wrong;                    // there and not 0: nothing of the tables may be used

  __device__ bool refused() const { return wrong && *wrong; }
  __device__ Keys prefix_of(size_t row) const {
    const int32_t p = prefix[row];
    if (p < 0) return {nullptr, 0};
    return {prefix_pages + static_cast<size_t>(p) * prefix_room, static_cast<uint32_t>(prefix_length[p])};
  }
  __device__ Keys own_of(size_t row) const { return {own_pages + row * own_room, static_cast<uint32_t>(own_length[row])}; }

  /** By a warp: whether all keys of a line lie in pages that are there. */
  __device__ bool within(const int32_t* line, size_t room, int32_t length) const {
    if (length < 0 || static_cast<size_t>(length) > room * page) return false;
    bool bad = false;
    for (size_t i = threadIdx.x % 32; i * page < static_cast<size_t>(length); i += 32) bad |= line[i] < 0 || static_cast<size_t>(line[i]) >= pages;
    return !__any_sync(~0u, bad);
  }
};

/** What is wrong with a row, as its refusal hands it over. */
enum class BadRow : int32_t { prefix, own };

/** A warp to each line of prefixes, then to each row. */
__global__ void check_tables(Tables t, size_t rows, Refusal of_prefixes, Refusal of_rows, int32_t* wrong) {
  const size_t i = cuda::global_index() / 32, lane = threadIdx.x % 32;
  if (i >= t.prefixes + rows) return;
  if (i < t.prefixes) {
    if (t.within(t.prefix_pages + i * t.prefix_room, t.prefix_room, t.prefix_length[i])) return;
    if (lane == 0) of_prefixes.at(i), *wrong = 1;
    return;
  }
  const size_t b = i - t.prefixes;
  const int32_t p = t.prefix[b];
  const bool prefix = p >= -1 && (p < 0 || static_cast<size_t>(p) < t.prefixes);
  if (prefix && t.within(t.own_pages + b * t.own_room, t.own_room, t.own_length[b])) return;
  if (lane == 0) of_rows.at(b, static_cast<int32_t>(prefix ? BadRow::own : BadRow::prefix)), *wrong = 1;
}

template <class T> struct DecodeArguments {
  Tables tables;
  const T *query, *key, *value;
  T* output;
  bf16* arranged;  // in the place of output, where it is there: of a product of few rows
  size_t heads, key_heads, width;
  size_t first, rows;              // of this launch: rows [first, first + rows)
  uint32_t group;                  // heads of a key head
  uint32_t prefix_splits, splits;  // that there may be: of a prefix, and of both tables
  T scale;                         // times log₂ e
  T *partial, *most, *sum;         // [rows, heads, splits] of this launch, `partial` with a vector each
};

/** How a warp holds vectors: Lanes threads share one, 64 bytes each, in packs of W elements. */
template <class T, int Lanes_, int W_> struct Slots {
  static constexpr int Lanes = Lanes_, W = W_, kCount = 32 / Lanes, kOwn = 64 / sizeof(T), kPacks = kOwn / W, kWidth = Lanes * kOwn;
  static __device__ uint32_t lane() { return threadIdx.x % Lanes; }
  static __device__ uint32_t slot() { return threadIdx.x % 32 / Lanes; }
  static __device__ uint32_t place(int pack) { return (static_cast<uint32_t>(pack) * Lanes + lane()) * W; }

  /** This thread's part of a vector; zeros where it is not there. */
  static __device__ void take(const T* from, bool there, size_t width, T (&to)[kOwn]) {
#pragma unroll
    for (int p = 0; p < kPacks; p++) {
      cuda::Pack<T, W> pack{};
      if (there && place(p) < width) pack = cuda::load<W>(from + place(p));
#pragma unroll
      for (int w = 0; w < W; w++) to[p * W + w] = pack.x[w];
    }
  }
  static __device__ void put(const T (&from)[kOwn], size_t width, T* to) {
#pragma unroll
    for (int p = 0; p < kPacks; p++) {
      cuda::Pack<T, W> pack;
#pragma unroll
      for (int w = 0; w < W; w++) pack.x[w] = from[p * W + w];
      if (place(p) < width) cuda::store<W>(to + place(p), pack);
    }
  }
};

/** Queries of a warp that have met some keys; every slot has met its own. */
template <class T, class S> struct Met {
  T most[kDecodeQueries], sum[kDecodeQueries], out[kDecodeQueries][S::kOwn];

  __device__ Met() {
#pragma unroll
    for (int q = 0; q < kDecodeQueries; q++) {
      most[q] = -INFINITY, sum[q] = 0;
#pragma unroll
      for (int i = 0; i < S::kOwn; i++) out[q][i] = 0;
    }
  }

  /** One batch of keys and values; of those that are not there nothing is counted. Queries lie in shared memory, since registers are short. */
  __device__ void add(const T (&query)[kDecodeQueries][S::kWidth], const T (&key)[kBatch][S::kOwn], const T (&value)[kBatch][S::kOwn], const bool (&there)[kBatch]) {
#pragma unroll
    for (int q = 0; q < kDecodeQueries; q++) {
      T score[kBatch] = {}, now = most[q];
#pragma unroll
      for (int p = 0; p < S::kPacks; p++) {
        const auto pack = cuda::load<S::W>(query[q] + S::place(p));
#pragma unroll
        for (int b = 0; b < kBatch; b++)
#pragma unroll
          for (int w = 0; w < S::W; w++) score[b] = fma(pack.x[w], key[b][p * S::W + w], score[b]);
      }
#pragma unroll
      for (int b = 0; b < kBatch; b++) {
        score[b] = cuda::warp_sum<S::Lanes>(score[b]);
        if (there[b] && score[b] > now) now = score[b];
      }
      const T keep = now == -INFINITY ? T(1) : exp2(most[q] - now);
      T weight[kBatch], added = 0;
#pragma unroll
      for (int b = 0; b < kBatch; b++) added += weight[b] = there[b] ? exp2(score[b] - now) : T(0);
      most[q] = now, sum[q] = sum[q] * keep + added;
#pragma unroll
      for (int i = 0; i < S::kOwn; i++) {
        T x = out[q][i] * keep;
#pragma unroll
        for (int b = 0; b < kBatch; b++) x = fma(weight[b], value[b][i], x);
        out[q][i] = x;
      }
    }
  }

  /** All slots become one, in every thread. */
  __device__ void join() {
#pragma unroll
    for (int q = 0; q < kDecodeQueries; q++)
#pragma unroll
      for (int by = S::Lanes; by < 32; by *= 2) {
        const T other = __shfl_xor_sync(~0u, most[q], by), now = other > most[q] ? other : most[q];
        const T share = most[q] == -INFINITY ? T(0) : exp2(most[q] - now);
        const T scaled = sum[q] * share;
        most[q] = now, sum[q] = scaled + __shfl_xor_sync(~0u, scaled, by);
#pragma unroll
        for (int i = 0; i < S::kOwn; i++) {
          const T x = out[q][i] * share;
          out[q][i] = x + __shfl_xor_sync(~0u, x, by);
        }
      }
  }
};

/** By a warp: its queries meet the keys of a split. */
template <class T, class S>
__device__ Met<T, S> meet(const DecodeArguments<T>& a, const T (&query)[kDecodeQueries][S::kWidth], const Keys& keys, uint32_t begin) {
  const uint32_t page = a.tables.page, end = keys.count - begin < kSplit ? keys.count : begin + kSplit;
  Met<T, S> met;
  for (; begin < end; begin += kBatch * S::kCount) {
    T key[kBatch][S::kOwn], value[kBatch][S::kOwn];
    bool there[kBatch];
#pragma unroll
    for (uint32_t b = 0; b < kBatch; b++) {
      const uint32_t j = begin + b * S::kCount + S::slot();
      there[b] = j < end;
      const size_t from = there[b] ? ((static_cast<size_t>(keys.pages[j / page]) * page + j % page) * a.key_heads + blockIdx.z) * a.width : 0;
      S::take(a.key + from, there[b], a.width, key[b]);
      S::take(a.value + from, there[b], a.width, value[b]);
    }
    met.add(query, key, value, there);
  }
  met.join();
  return met;
}

/** Block (x, y, z): the warps' rows, which split of which table, and the key head. */
template <class T, class S> __global__ void __launch_bounds__(32 * kDecodeWarps, sizeof(T) == 4 ? 3 : 2) meet_splits(DecodeArguments<T> a) {
  alignas(16) __shared__ T of_warps[kDecodeWarps][kDecodeQueries][S::kWidth];
  auto& query = of_warps[threadIdx.x / 32];
  if (a.tables.refused()) return;
  const bool own = blockIdx.y >= a.prefix_splits;
  const uint32_t begin = (blockIdx.y - (own ? a.prefix_splits : 0)) * kSplit, group = a.group;
  // queries of a warp: heads of one row, or those of a few rows where a row has few, which then may share a prefix
  const uint32_t together = own || group >= kDecodeQueries ? 1 : kDecodeQueries / group, parts = (group + kDecodeQueries - 1) / kDecodeQueries;
  const uint32_t unit = blockIdx.x * kDecodeWarps + threadIdx.x / 32, n = unit % parts * kDecodeQueries + threadIdx.x % kDecodeQueries;
  // every lane knows one of the queries: the row in this launch, and where its head lies in it
  const uint32_t row = unit / parts * together + n / group, place = row * static_cast<uint32_t>(a.heads) + blockIdx.z * group + n % group;
  const bool valid = n < together * group && row < a.rows;
  unsigned waiting = __ballot_sync(~0u, valid) & ((1u << kDecodeQueries) - 1);  // those that have yet to meet their keys
  while (waiting) {
    // the first one that waits, and all that have the same table
    const size_t leader = a.first + __shfl_sync(~0u, row, __ffs(static_cast<int>(waiting)) - 1);
    const Keys keys = own ? a.tables.own_of(leader) : a.tables.prefix_of(leader);
    const unsigned here = __ballot_sync(~0u, valid && a.tables.prefix[a.first + row] == a.tables.prefix[leader]) & waiting;
    waiting &= ~here;
    if (begin >= keys.count) continue;
    __syncwarp();
#pragma unroll
    for (int q = 0; q < kDecodeQueries; q++) {
      const bool there = here >> q & 1;
      const T* from = a.query + (a.first * a.heads + __shfl_sync(~0u, place, q)) * a.width;
      for (uint32_t d = threadIdx.x % 32; d < S::kWidth; d += 32) query[q][d] = there && d < a.width ? from[d] * a.scale : T(0);
    }
    __syncwarp();
    const auto met = meet<T, S>(a, query, keys, begin);
#pragma unroll
    for (int q = 0; q < kDecodeQueries; q++) {
      const size_t to = static_cast<size_t>(__shfl_sync(~0u, place, q)) * a.splits + blockIdx.y;
      // all slots have the same: each writes some of the queries
      if (!(here >> q & 1) || static_cast<uint32_t>(q % S::kCount) != S::slot()) continue;
      S::put(met.out[q], a.width, a.partial + to * a.width);
      if (S::lane() == 0) a.most[to] = met.most[q], a.sum[to] = met.sum[q];
    }
  }
}

/** What the splits of a row and head have left, in order; a warp to each. */
template <class T, int W> __global__ void combine_splits(DecodeArguments<T> a) {
  const size_t i = cuda::global_index() / 32, lane = threadIdx.x % 32;
  if (i >= a.rows * a.heads || a.tables.refused()) return;
  const size_t row = a.first + i / a.heads;
  const uint32_t of_prefix = a.tables.prefix_of(row).splits(), count = of_prefix + a.tables.own_of(row).splits();
  const auto place = [&](uint32_t s) { return i * a.splits + (s < of_prefix ? s : a.prefix_splits + s - of_prefix); };
  T most = -INFINITY;
  for (uint32_t s = lane; s < count; s += 32) most = a.most[place(s)] > most ? a.most[place(s)] : most;
  most = cuda::warp_max(most);
  for (size_t d = lane * W; d < a.width; d += 32 * W) {
    T sum = 0;
    cuda::Pack<T, W> out{};
#pragma unroll 4
    for (uint32_t s = 0; s < count; s++) {
      const size_t at = place(s);
      const auto part = cuda::load<W>(a.partial + at * a.width + d);
      const T share = exp2(a.most[at] - most);
      sum = fma(a.sum[at], share, sum);
      for (int w = 0; w < W; w++) out.x[w] = fma(part.x[w], share, out.x[w]);
    }
    const T factor = sum == 0 ? T(0) : 1 / sum;
    for (int w = 0; w < W; w++) out.x[w] *= factor;
    if constexpr (sizeof(T) == 4)
      if (a.arranged) {
        cuda::put_arranged<W>(a.arranged + row * cuda::thin_stride(a.heads * a.width), i % a.heads * a.width + d, out);
        continue;
      }
    cuda::store<W>(a.output + (a.first * a.heads + i) * a.width + d, out);
  }
}

/** f.operator()<Slots>() with as many lanes as a vector of this width needs, which has at most 256 elements. */
template <class T, int W, int Lanes = 4, class F> void with_slots(size_t width, F&& f) {
  using S = Slots<T, Lanes, W>;
  if constexpr (S::kWidth < 256)
    if (width > S::kWidth) return with_slots<T, W, 2 * Lanes>(width, f);
  f.template operator()<S>();
}

}  // namespace g2rpo::attention
