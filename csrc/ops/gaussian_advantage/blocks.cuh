// Ranks of a segment that some lanes of a warp hold, or a block in its shared memory.
#pragma once
#include "sums.cuh"

namespace g2rpo {

namespace {

using cuda::Refusal;

constexpr size_t kLanes = 32;      // up to this size a segment is counted by lanes of a warp
constexpr size_t kWarp = 128;      // up to this size by a warp, some rewards to a lane, where only equal ones are tied
constexpr size_t kShort = kTabled;  // up to this size a small block sorts it
constexpr size_t kLong = 8192;     // up to this size a large one

/** G lanes to a segment of at most G rewards: `lane` of them, the `group`-th of the warp. */
template <int G>
__device__ void rank_by_lanes(const double* x, size_t begin, size_t n, int lane, int group, double tolerance, const SmallSums& sums, double* out, const Refusal& nan) {
  const int size = static_cast<int>(n);
  const bool mine = lane < size;
  const double own = mine ? x[begin + static_cast<size_t>(lane)] : 0;
  if (own != own) nan.at(begin + static_cast<size_t>(lane));
  int less = 0, tied = 0, before = 0;
#pragma unroll
  for (int j = 0; j < G; j++) {
    const double other = __shfl_sync(~0u, own, j, G);
    if (j < size) less += other < own, tied += other == own, before += other == own && j < lane;
  }
  int first = less, last = less + tied;
  if (tolerance > 0) {
    // the rewards in order, one to a lane; a block of ties begins where one is further from the one before
    const int place = mine ? less + before : -1;
    double here = 0;
#pragma unroll
    for (int j = 0; j < G; j++) {
      const double other = __shfl_sync(~0u, own, j, G);
      if (__shfl_sync(~0u, place, j, G) == lane) here = other;
    }
    const double previous = __shfl_up_sync(~0u, here, 1, G);
    const bool begins = mine && (lane == 0 || !(here == previous || here - previous <= tolerance));
    const unsigned bits = __ballot_sync(~0u, begins) >> (group * (G % 32)) & (~0u >> (32 - G));
    if (mine) {
      first = 31 - __clz(static_cast<int>(bits & ~0u >> (31 - place)));
      const unsigned after = place == 31 ? 0 : bits >> (place + 1);
      last = after ? place + __ffs(static_cast<int>(after)) : size;
    }
  }
  if (mine) out[begin + static_cast<size_t>(lane)] = size == 1 ? 0 : sums.of(n).mean(static_cast<size_t>(first), static_cast<size_t>(last));
}

/** A warp to a segment of at most 32·K rewards, K to a lane; equal ones are tied. */
template <int K> __device__ void rank_by_warp(const double* x, size_t begin, size_t n, const SmallSums& sums, double* out, const Refusal& nan) {
  const int lane = static_cast<int>(threadIdx.x % 32), size = static_cast<int>(n);
  double own[K];
  int less[K] = {}, tied[K] = {};
#pragma unroll
  for (int k = 0; k < K; k++) {
    const int i = 32 * k + lane;
    own[k] = i < size ? x[begin + static_cast<size_t>(i)] : 0;
    if (own[k] != own[k]) nan.at(begin + static_cast<size_t>(i));
  }
#pragma unroll
  for (int q = 0; q < K; q++)
    for (int j = 0; j < 32 && 32 * q + j < size; j++) {
      const double other = __shfl_sync(~0u, own[q], j);
#pragma unroll
      for (int k = 0; k < K; k++) less[k] += other < own[k], tied[k] += other == own[k];
    }
  const auto all = sums.of(n);
#pragma unroll
  for (int k = 0; k < K; k++) {
    const int i = 32 * k + lane;
    if (i < size) out[begin + static_cast<size_t>(i)] = all.mean(static_cast<size_t>(less[k]), static_cast<size_t>(less[k] + tied[k]));
  }
}

/** A segment of at most Most rewards in the shared memory of a block of Threads. */
template <int Threads, size_t Most> struct BlockMemory {
  double values[Most];
  uint16_t rows[Most];
  int32_t bound[2][Threads];
  double total[Threads];

  /** Rewards and the rows they come from, in order. What is NaN is told to `refuse` and taken for 0: nothing could be sorted past it, not even what fills the last places. */
  template <class F> __device__ void sort(const double* x, size_t n, F&& refuse) {
    size_t size = 1;
    while (size < n) size *= 2;
    __syncthreads();  // who is still reading the segment before
    for (size_t i = threadIdx.x; i < size; i += Threads) {
      // behind infinite rewards too: their rows are smaller
      values[i] = i < n ? x[i] : INFINITY;
      rows[i] = static_cast<uint16_t>(i);
      if (values[i] != values[i]) refuse(i), values[i] = 0;
    }
    __syncthreads();
    for (size_t width = 2; width <= size; width *= 2)
      for (size_t by = width / 2; by > 0; by /= 2) {
        for (size_t pair = threadIdx.x; pair < size / 2; pair += Threads) {
          const size_t low = pair / by * 2 * by + pair % by, high = low + by;
          const double a = values[low], b = values[high];
          const bool falls = a > b || (a == b && rows[low] > rows[high]);
          if (falls != ((low & width) != 0)) {
            values[low] = b, values[high] = a;
            const uint16_t row = rows[low];
            rows[low] = rows[high], rows[high] = row;
          }
        }
        __syncthreads();
      }
  }

  /** sums[r] = Σ of the quantiles of the ranks below r, for the lower half. */
  __device__ void add_quantiles(size_t n, double* sums) {
    const size_t half = n / 2, each = (half + Threads - 1) / Threads, begin = threadIdx.x * each, end = begin + each < half ? begin + each : half;
    double sum = 0;
    for (size_t r = begin; r < end; r++) sum += quantile_of((static_cast<double>(r) + 0.5) / static_cast<double>(n));
    total[threadIdx.x] = sum;
    __syncthreads();
    double before = 0;
    for (unsigned t = 0; t < threadIdx.x; t++) before += total[t];
    for (size_t r = begin; r < end; r++) {
      sums[r] = before;
      before += quantile_of((static_cast<double>(r) + 0.5) / static_cast<double>(n));
    }
    if (begin < half && end == half) sums[half] = before;
    __syncthreads();
  }

  __device__ bool begins(size_t p, double tolerance) const {
    // two infinities of one sign differ by NaN, which is not a distance: equal values are tied whatever they are
    return p == 0 || !(values[p] == values[p - 1] || values[p] - values[p - 1] <= tolerance);
  }

  /** The mean quantile of each reward's block of ties, where it came from. A thread has some places that follow each other. */
  template <bool Known> __device__ void give(const SumsOf<Known>& sums, size_t n, double tolerance, double* out) {
    const size_t each = (n + Threads - 1) / Threads, begin = threadIdx.x * each, end = begin + each < n ? begin + each : n;
    int32_t last = -1, first = static_cast<int32_t>(n);
    for (size_t p = begin; p < end; p++)
      if (begins(p, tolerance)) {
        last = static_cast<int32_t>(p);
        if (first == static_cast<int32_t>(n)) first = last;
      }
    bound[0][threadIdx.x] = last, bound[1][threadIdx.x] = first;
    __syncthreads();
    // the last beginning up to each thread's places, and the first from them on
    for (unsigned by = 1; by < Threads; by *= 2) {
      const int32_t left = threadIdx.x >= by ? bound[0][threadIdx.x - by] : -1, right = threadIdx.x + by < Threads ? bound[1][threadIdx.x + by] : static_cast<int32_t>(n);
      __syncthreads();
      if (left > bound[0][threadIdx.x]) bound[0][threadIdx.x] = left;
      if (right < bound[1][threadIdx.x]) bound[1][threadIdx.x] = right;
      __syncthreads();
    }
    size_t from = threadIdx.x > 0 ? static_cast<size_t>(bound[0][threadIdx.x - 1]) : 0;
    const size_t next = threadIdx.x + 1 < Threads ? static_cast<size_t>(bound[1][threadIdx.x + 1]) : n;
    for (size_t p = begin; p < end; p++) {
      if (begins(p, tolerance)) from = p;
      size_t to = p + 1;
      while (to < end && !begins(to, tolerance)) to++;
      out[rows[p]] = sums.mean(from, to < end ? to : next);
    }
  }
};

}  // namespace

}  // namespace g2rpo
