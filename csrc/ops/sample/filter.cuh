// Top-k and top-p of a row, by a block, in integers that are added up: counts, and weights as shares of 2⁶². Ids near the top are told from the others
// by a histogram of how far below it they are; if they are few, as they nearly always are, they are sorted, else bounds are found digit by digit.
#pragma once
#include "race.cuh"

namespace g2rpo {

namespace {

constexpr unsigned kBlock = 1024;
constexpr size_t kListed = 8192;                       // ids near the top, at most
constexpr size_t kBins = 2 * kBlock, kBinsOfOne = 64;  // of the histogram: all, and of logits that differ by one
using Weight = unsigned long long;

/** What a row is sampled from, and how. */
template <class T> struct Row {
  Adjusted<T> adjusted;
  const int32_t* key;
  size_t n, top_k;  // top_k is n: all
  double top_p;
};

/** What a block keeps in shared memory, beside the list, which is in what it is given at its start. */
template <class T> struct Shared {
  double sums[32];
  Best<T> bests[32];
  Weight bins[256], above;
  uint32_t counts[kBins];
  unsigned digit, cut, listed;
};
template <class T> struct List {
  T z[kListed];
  int32_t ids[kListed];
};

/** body(v, z) for this thread's ids, some of which are on their way at a time. */
template <class T, class Body> __device__ void each_logit(const Row<T>& row, Body&& body) {
  constexpr unsigned kAhead = 32 / sizeof(T);
  const auto n = static_cast<unsigned>(row.n);
  for (unsigned first = threadIdx.x; first < n; first += kAhead * kBlock) {
    T z[kAhead];
#pragma unroll
    for (unsigned i = 0; i < kAhead; i++) z[i] = first + i * kBlock < n ? row.adjusted(first + i * kBlock) : T(0);
#pragma unroll
    for (unsigned i = 0; i < kAhead; i++)
      if (first + i * kBlock < n) body(first + i * kBlock, z[i]);
  }
}

/** The sum of the threads up to this one, in a fixed order, and of all; `partial` holds 32 and is free afterwards. */
template <class V> __device__ V block_scan(V x, V* partial, V& all) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto over_warp = [&](V y) {
    for (unsigned by = 1; by < 32; by *= 2) {
      const V other = __shfl_up_sync(~0u, y, by);
      if (lane >= by) y += other;
    }
    return y;
  };
  x = over_warp(x);
  if (lane == 31) partial[warp] = x;
  __syncthreads();
  const V sums = over_warp(lane < kBlock / 32 ? partial[lane] : V(0)), before = __shfl_sync(~0u, sums, static_cast<int>(warp > 0 ? warp - 1 : 0));
  all = __shfl_sync(~0u, sums, 31);
  __syncthreads();
  return warp > 0 ? x + before : x;
}

/** Shares of the largest weight, so that those of n ids are less than 2⁶² together. */
struct Shares {
  double unit;
  __device__ explicit Shares(size_t n) {
    int bits = 62;
    for (; n > 1; n = (n + 1) / 2) bits--;
    unit = static_cast<double>(Weight{1} << bits);
  }
  template <class T> __device__ Weight of(T below) const { return static_cast<Weight>(static_cast<double>(exp(below)) * unit + 0.5); }
  static __device__ Weight wanted(double top_p, Weight total) {
    const auto share = static_cast<Weight>(ceil(top_p * static_cast<double>(total)));
    return share < 1 ? 1 : share < total ? share : total;
  }
};

/** Lists all ids that may survive, in no order; false if they are too many. `total` becomes what all ids weigh, if no top-k comes first. */
template <class T> __device__ bool list_top(const Row<T>& row, T top, const Shares& shares, Shared<T>& shared, List<T>& list, Weight& total) {
  const auto bin_of = [&](T z) {
    const T far = (top - z) * T(kBinsOfOne);
    return far < T(kBins - 1) ? static_cast<unsigned>(far) : static_cast<unsigned>(kBins - 1);
  };
  for (size_t i = threadIdx.x; i < kBins; i += kBlock) shared.counts[i] = 0;
  if (threadIdx.x == 0) shared.cut = kBins - 1, shared.listed = 0;
  __syncthreads();
  const bool by_count = row.top_k < row.n;
  Weight own = 0;
  unsigned last = 0;  // what is in the last bin may be most of a row
  each_logit(row, [&](unsigned, T z) {
    const unsigned bin = bin_of(z);
    if (bin < kBins - 1) atomicAdd(shared.counts + bin, 1u);
    else last++;
    if (!by_count) own += shares.of(z - top);
  });
  if (last) atomicAdd(shared.counts + kBins - 1, last);
  total = cuda::block_sum(own, shared.bins);
  // bins from the top on until there are k ids, or until the others, weighed by the upper ends of their bins, weigh no more than may be left out
  double size[2], all;
  for (unsigned i = 0; i < 2; i++) {
    const unsigned bin = 2 * threadIdx.x + i;
    const double count = shared.counts[bin];
    size[i] = by_count ? count : count * (exp(-static_cast<double>(bin) / kBinsOfOne) * shares.unit * 1.0001 + 1);
  }
  const double reached = block_scan(size[0] + size[1], shared.sums, all), before = reached - size[0] - size[1];
  const double wanted = by_count ? static_cast<double>(row.top_k) : all - static_cast<double>(total - Shares::wanted(row.top_p, total)) * 0.9999;
  const double upto[3] = {before, before + size[0], reached};
  for (unsigned i = 0; i < 2; i++)
    if (upto[i + 1] >= wanted && (upto[i] < wanted || 2 * threadIdx.x + i == 0)) atomicMin(&shared.cut, 2 * threadIdx.x + i);
  __syncthreads();
  const unsigned cut = shared.cut;
  each_logit(row, [&](unsigned v, T z) {
    if (bin_of(z) > cut) return;
    const unsigned at = atomicAdd(&shared.listed, 1u);
    if (at < kListed) list.z[at] = z, list.ids[at] = static_cast<int32_t>(v);
  });
  __syncthreads();
  return shared.listed <= kListed;
}

/** By falling logit, of equals the lower id first. */
template <class T> __device__ void sort_list(List<T>& list, size_t n) {
  size_t size = 1;
  while (size < n) size *= 2;
  for (size_t i = n + threadIdx.x; i < size; i += kBlock) list.z[i] = T(-INFINITY), list.ids[i] = kNobody;
  __syncthreads();
  for (size_t width = 2; width <= size; width *= 2)
    for (size_t by = width / 2; by > 0; by /= 2) {
      for (size_t pair = threadIdx.x; pair < size / 2; pair += kBlock) {
        const size_t low = pair / by * 2 * by + pair % by, high = low + by;
        const T a = list.z[low], b = list.z[high];
        const int32_t i = list.ids[low], j = list.ids[high];
        const bool rises = a < b || (a == b && i > j);
        if (rises != ((low & width) != 0)) list.z[low] = b, list.z[high] = a, list.ids[low] = j, list.ids[high] = i;
      }
      __syncthreads();
    }
}

/** The token of a row whose list is whole. */
template <class T> __device__ int32_t sample_listed(const Row<T>& row, T top, const Shares& shares, Weight total, Shared<T>& shared, List<T>& list) {
  const size_t n = shared.listed;
  sort_list(list, n);
  size_t kept = n;
  if (row.top_k < row.n) {  // the k-th, and what is equal to it
    const T lowest = list.z[row.top_k - 1];
    Weight own = 0;
    for (size_t i = threadIdx.x; i < n; i += kBlock) own += list.z[i] >= lowest;
    kept = cuda::block_sum(own, shared.bins);
  }
  if (row.top_p < 1) {
    const size_t each = (kept + kBlock - 1) / kBlock, begin = threadIdx.x * each, end = begin + each < kept ? begin + each : kept;
    Weight own = 0, listed;
    for (size_t i = begin; i < end; i++) own += shares.of(list.z[i] - top);
    Weight reached = block_scan(own, shared.bins, listed) - own;
    const Weight wanted = Shares::wanted(row.top_p, row.top_k < row.n ? listed : total);
    if (threadIdx.x == 0) shared.cut = static_cast<unsigned>(kept);
    __syncthreads();
    for (size_t i = begin; i < end && reached < wanted; i++) {
      reached += shares.of(list.z[i] - top);
      if (reached >= wanted) atomicMin(&shared.cut, static_cast<unsigned>(i + 1));
    }
    __syncthreads();
    kept = shared.cut;
  }
  Best<T> best{T(0), kNobody};
  for (size_t i = threadIdx.x; i < kept; i += kBlock) best.offer(race(exp(list.z[i] - top), bits_of(row.key, static_cast<size_t>(list.ids[i]))), list.ids[i]);
  best = best_of_block(best, shared.bests);
  return best.score > 0 ? best.id : kNobody;
}

/** Bits in the order of numbers. */
__device__ inline uint32_t ordered(float z) {
  const uint32_t bits = __float_as_uint(z);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline uint64_t ordered(double z) {
  const auto bits = static_cast<uint64_t>(__double_as_longlong(z));
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

template <class K> struct Bound {
  K key;
  Weight above;  // of all greater keys
};

/** The largest key such that all keys that are not below it weigh `wanted`, which is at least 1 and no more than all together. */
template <class K, class T, class Each> __device__ Bound<K> find_bound(Weight wanted, Shared<T>& shared, Each&& each) {
  constexpr int kBits = 8 * sizeof(K);
  K prefix = 0;
  Weight above = 0;
  for (int shift = kBits - 8; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < 256; i += kBlock) shared.bins[i] = 0;
    __syncthreads();
    each([&](K key, Weight weight) {
      if (weight && (shift == kBits - 8 || key >> (shift + 8) == prefix)) atomicAdd(shared.bins + (key >> shift & 255), weight);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = 255;
      for (; digit > 0 && above + shared.bins[digit] < wanted; digit--) above += shared.bins[digit];
      shared.digit = digit, shared.above = above;
    }
    __syncthreads();
    prefix = static_cast<K>(prefix << 8 | shared.digit), above = shared.above;
    __syncthreads();
  }
  return {prefix, above};
}

/** The token of a row in which too many ids may survive. */
template <class T> __device__ __attribute__((noinline)) int32_t sample_by_digits(Row<T> row, T top, Shares shares, Shared<T>& shared) {
  using Key = decltype(ordered(T(0)));
  Key lowest = 0;
  if (row.top_k < row.n)
    lowest = find_bound<Key>(row.top_k, shared, [&](auto&& add) { each_logit(row, [&](unsigned, T z) { add(ordered(z), Weight{1}); }); }).key;
  int32_t last = kNobody;  // of the ids whose key is the lowest
  if (row.top_p < 1) {
    const auto weight_of = [&](T z) { return ordered(z) < lowest ? Weight{0} : shares.of(z - top); };
    Weight own = 0;
    each_logit(row, [&](unsigned, T z) { own += weight_of(z); });
    const Weight wanted = Shares::wanted(row.top_p, cuda::block_sum(own, shared.bins));
    const Bound<Key> bound = find_bound<Key>(wanted, shared, [&](auto&& add) { each_logit(row, [&](unsigned, T z) { add(ordered(z), weight_of(z)); }); });
    lowest = bound.key;
    // of equals as many as are needed, the lower ids first
    Weight found[2] = {};  // how many there are, and what one weighs
    each_logit(row, [&](unsigned, T z) {
      if (ordered(z) == lowest) found[0]++, found[1] = weight_of(z);
    });
    if (threadIdx.x == 0) shared.bins[0] = shared.bins[1] = 0;
    __syncthreads();
    if (found[0]) atomicAdd(shared.bins, found[0]), atomicMax(shared.bins + 1, found[1]);
    __syncthreads();
    const Weight equals = shared.bins[0], weight = shared.bins[1], needed = (wanted - bound.above + weight - 1) / weight;
    __syncthreads();
    if (needed < equals)
      last = static_cast<int32_t>(~find_bound<uint32_t>(needed, shared, [&](auto&& add) {
                                     each_logit(row, [&](unsigned v, T z) { add(~v, Weight{ordered(z) == lowest}); });
                                   }).key);
  }
  Best<T> best{T(0), kNobody};
  for (size_t call = threadIdx.x; id_of(call, 0) < row.n; call += kBlock) {
    const Words random = philox(row.key, static_cast<uint32_t>(call));
    for (size_t w = 0; w < 4; w++) {
      const size_t v = id_of(call, w);
      if (v >= row.n) break;
      const T z = row.adjusted(v);
      if (ordered(z) > lowest || (ordered(z) == lowest && static_cast<int32_t>(v) <= last))
        best.offer(race(exp(z - top), random.word[w] >> 1), static_cast<int32_t>(v));
    }
  }
  best = best_of_block(best, shared.bests);
  return best.score > 0 ? best.id : kNobody;
}

/** The token of a row after top-k and top-p, or kNobody; `top` is its largest adjusted logit. */
template <class T> __device__ __attribute__((noinline)) int32_t sample_filtered(Row<T> row, T top, Shared<T>& shared, List<T>& list) {
  if (!(top - top == 0)) return kNobody;
  const Shares shares(row.n);
  Weight total;
  const bool filtered = row.top_k < row.n || row.top_p < 1;
  if (filtered && list_top(row, top, shares, shared, list, total)) return sample_listed(row, top, shares, total, shared, list);
  return sample_by_digits(row, top, shares, shared);
}

}  // namespace

}  // namespace g2rpo
