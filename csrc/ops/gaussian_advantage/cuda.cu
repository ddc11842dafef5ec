// Small segments by counting, a few lanes or a block to each; the others, and all where near rewards are tied, by sorting.
#include <cub/device/device_scan.cuh>
#include <cub/device/device_segmented_sort.cuh>
#include <map>
#include <memory>
#include <mutex>
#include <thrust/iterator/reverse_iterator.h>

#include "../../backends/cuda/device.h"
#include "../normal_quantile/quantile.cuh"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kLanes = 32;      // up to this size a segment is counted by lanes of a warp
constexpr size_t kCounted = 1024;  // up to this size by a block

/**
 * The mean quantile of ranks b…e−1 (0-based) of n, as the CPU's tables have it: only the lower half is summed, in two parts, and
 * what of a block has its mirror image in the block cancels before, so that a symmetric block is exactly 0.
 */
struct Sums {
  const double *high, *low;  // [n/2 + 1]
  size_t n;

  __host__ __device__ double lower(size_t b, size_t e) const { return (high[e] - high[b]) + (low[e] - low[b]); }
  __host__ __device__ double mean(size_t b, size_t e) const {
    const size_t mb = n - e, me = n - b;  // the mirror image
    const double count = static_cast<double>(e - b);
    if (b < mb) return lower(b, mb < e ? mb : e) / count;
    if (b > mb) return -lower(mb, me < b ? me : b) / count;
    return 0;
  }
};

/** Those of n, high before low, at the end of a list. */
void append_sums(size_t n, std::vector<double>& list) {
  const size_t half = n / 2, at = list.size();
  list.resize(at + 2 * (half + 1));
  double *high = list.data() + at, *low = high + half + 1;
  for (size_t r = 0; r < half; r++) {
    const double q = quantile_of((static_cast<double>(r) + 0.5) / static_cast<double>(n)), s = high[r] + q, t = s - high[r];
    high[r + 1] = s;
    low[r + 1] = low[r] + ((high[r] - (s - t)) + (q - t));
  }
}

/** Sums of all sizes up to kCounted, one behind the other. */
struct SmallSums {
  const double* sums;
  __device__ Sums of(size_t n) const {
    const size_t before = n - 1, halves = (before / 2) * ((before + 1) / 2);  // ⌊1/2⌋ + ⌊2/2⌋ + … + ⌊before/2⌋
    const double* at = sums + 2 * (halves + before);
    return {at, at + n / 2 + 1, n};
  }
};

/** Sums on the device, for good: of small sizes together, of every other size when it is first met. */
class KeptSums {
 public:
  SmallSums small(Stream& stream) {
    const std::lock_guard lock(mutex_);
    if (!small_) {
      std::vector<double> all;
      for (size_t n = 1; n <= kCounted; n++) append_sums(n, all);
      small_ = upload(stream, all);
    }
    return {small_};
  }
  Sums of(Stream& stream, size_t n) {
    const std::lock_guard lock(mutex_);
    auto& kept = kept_[n];
    if (!kept) {
      std::vector<double> sums;
      append_sums(n, sums);
      kept = upload(stream, sums);
    }
    return {kept, kept + n / 2 + 1, n};
  }

 private:
  static double* upload(Stream& stream, const std::vector<double>& sums) {
    double* to = nullptr;
    const size_t bytes = sums.size() * sizeof(double);
    cuda::check(cudaMalloc(&to, bytes), "allocating");
    cuda::check(cudaMemcpyAsync(to, sums.data(), bytes, cudaMemcpyHostToDevice, stream.queue->stream), "copying to the device");
    cuda::check(cudaStreamSynchronize(stream.queue->stream), "copying to the device");
    return to;
  }

  std::mutex mutex_;
  double* small_ = nullptr;
  std::map<size_t, double*> kept_;
};

/** G lanes to a segment of at most G rewards; longer ones are another kernel's. */
template <int G> __global__ void by_lanes(const double* x, const int32_t* starts, size_t segments, SmallSums sums, double* out, cuda::Refusal refusal) {
  const size_t s = cuda::global_index() / G;
  const int lane = threadIdx.x % G;
  const size_t begin = s < segments ? starts[s] : 0, n = s < segments ? starts[s + 1] - begin : 0;
  const bool mine = n <= G && lane < n;
  const double own = mine ? x[begin + lane] : 0;
  if (own != own) refusal.at(begin + lane);
  int less = 0, tied = 0;
  for (int j = 0; j < G; j++) {
    const double other = __shfl_sync(~0u, own, j, G);
    if (j < n) less += other < own, tied += other == own;
  }
  if (mine) out[begin + lane] = n == 1 ? 0 : sums.of(n).mean(less, less + tied);
}

/** A block to a segment of more than kLanes and at most kCounted rewards. */
__global__ void by_block(const double* x, const int32_t* starts, SmallSums sums, double* out, cuda::Refusal refusal) {
  __shared__ double all[kCounted];
  const size_t begin = starts[blockIdx.x], n = starts[blockIdx.x + 1] - begin;
  if (n <= kLanes || n > kCounted) return;
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    all[i] = x[begin + i];
    if (all[i] != all[i]) refusal.at(begin + i);
  }
  __syncthreads();
  const Sums own_sums = sums.of(n);
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double own = all[i];
    int less = 0, tied = 0;
    for (size_t j = 0; j < n; j++) less += all[j] < own, tied += all[j] == own;
    out[begin + i] = own_sums.mean(less, less + tied);
  }
}

/** Segments that are sorted: rewards [begin, end), whose places in the sorted lists begin at `at`. */
struct Sorted {
  size_t begin, end, at;
  Sums sums;
};

__device__ size_t segment_of(const Sorted* segments, size_t count, size_t place) {
  size_t low = 0, high = count;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (segments[middle].at <= place ? low : high) = middle;
  }
  return low;
}

__global__ void gather(const double* x, const Sorted* segments, size_t count, size_t total, double* values, int32_t* rows, cuda::Refusal refusal) {
  const size_t place = cuda::global_index();
  if (place >= total) return;
  const Sorted s = segments[segment_of(segments, count, place)];
  const size_t row = s.begin + (place - s.at);
  const double v = x[row];
  if (v != v) refusal.at(row);
  values[place] = v;
  rows[place] = static_cast<int32_t>(row);
}

/** begins[p] = p and ends[p] = p where a block of tied rewards begins; 0 and `total` elsewhere: scans make bounds of them. */
__global__ void find_blocks(const double* values, const Sorted* segments, size_t count, size_t total, double tolerance, int32_t* begins, int32_t* ends) {
  const size_t p = cuda::global_index();
  if (p >= total) return;
  const bool first = segments[segment_of(segments, count, p)].at == p;
  // two infinities of one sign differ by NaN, which is not a distance: equal values are tied whatever they are
  const bool tied = !first && (values[p] == values[p - 1] || values[p] - values[p - 1] <= tolerance);
  begins[p] = tied ? 0 : static_cast<int32_t>(p);
  ends[p] = tied ? static_cast<int32_t>(total) : static_cast<int32_t>(p);
}

__global__ void scatter(const Sorted* segments, size_t count, size_t total, const int32_t* rows, const int32_t* begins, const int32_t* ends, double* out) {
  const size_t p = cuda::global_index();
  if (p >= total) return;
  const Sorted s = segments[segment_of(segments, count, p)];
  // the next block begins where this one ends
  const size_t end = p + 1 < total ? static_cast<size_t>(ends[p + 1]) : total;
  out[rows[p]] = s.sums.mean(static_cast<size_t>(begins[p]) - s.at, end - s.at);
}

struct Larger {
  __host__ __device__ int32_t operator()(int32_t a, int32_t b) const { return a > b ? a : b; }
};
struct Smaller {
  __host__ __device__ int32_t operator()(int32_t a, int32_t b) const { return a < b ? a : b; }
};

/** Calls a function of CUB twice: for the size of its scratch memory, and with it. */
template <class F> void with_scratch(Stream& stream, F&& call) {
  size_t bytes = 0;
  cuda::check(call(nullptr, bytes), "sorting");
  cuda::Temporary<char> memory(stream, bytes);
  cuda::check(call(memory.get(), bytes), "sorting");
}

void by_sorting(Stream& stream, const GaussianAdvantage& op, const std::vector<Sorted>& segments, cuda::Refusal refusal) {
  auto* queue = stream.queue->stream;
  const size_t count = segments.size(), total = segments.back().at + (segments.back().end - segments.back().begin);
  cuda::Temporary<Sorted> table(stream, count);
  table.fill_from(segments.data(), count);
  std::vector<int32_t> bounds;
  for (const auto& s : segments) bounds.push_back(static_cast<int32_t>(s.at));
  bounds.push_back(static_cast<int32_t>(total));
  cuda::Temporary<int32_t> offsets(stream, count + 1), rows(stream, total), sorted_rows(stream, total), begins(stream, total), ends(stream, total);
  cuda::Temporary<double> values(stream, total), sorted(stream, total);
  offsets.fill_from(bounds.data(), count + 1);
  const unsigned blocks = cuda::blocks_for(total);
  cuda::launch(stream, gather, blocks, cuda::kThreads, op.rewards.data, table.get(), count, total, values.get(), rows.get(), refusal);
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    return cub::DeviceSegmentedSort::SortPairs(memory, bytes, values.get(), sorted.get(), rows.get(), sorted_rows.get(), static_cast<int>(total),
                                               static_cast<int>(count), offsets.get(), offsets.get() + 1, queue);
  });
  cuda::launch(stream, find_blocks, blocks, cuda::kThreads, sorted.get(), table.get(), count, total, op.tieTolerance, begins.get(), ends.get());
  const int n = static_cast<int>(total);
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    return cub::DeviceScan::InclusiveScan(memory, bytes, begins.get(), begins.get(), Larger{}, n, queue);
  });
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    const auto last = thrust::make_reverse_iterator(ends.get() + total);
    return cub::DeviceScan::InclusiveScan(memory, bytes, last, last, Smaller{}, n, queue);
  });
  cuda::launch(stream, scatter, blocks, cuda::kThreads, table.get(), count, total, sorted_rows.get(), begins.get(), ends.get(), op.advantages.data);
}

}  // namespace

KERNEL(cuda, GaussianAdvantage) {
  if (!(op.tieTolerance >= 0))
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: tieTolerance must be at least 0");
  // the sizes decide which kernels run, so they are read back
  auto* queue = stream.queue->stream;
  const size_t segments = op.segmentStarts.size - 1, B = op.rewards.size;
  std::vector<int32_t> starts(segments + 1);
  cuda::check(cudaMemcpyAsync(starts.data(), op.segmentStarts.data, starts.size() * sizeof(int32_t), cudaMemcpyDeviceToHost, queue),
              "reading segmentStarts");
  cuda::check(cudaStreamSynchronize(queue), "reading segmentStarts");
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[segments]) == B;
  for (size_t s = 0; s < segments; s++) rising &= starts[s] <= starts[s + 1];
  if (!rising)
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: segmentStarts must rise from 0 to the number of rewards");
  if (B == 0) return;

  static KeptSums sums;
  const auto refusal = cuda::refusal(stream, "NON_FINITE", "gaussian_advantage: rewards holds NaN, which has no rank");
  std::vector<Sorted> sorted;
  size_t least = kCounted + 1, most = 0, at = 0;  // of the sizes that are counted
  for (size_t s = 0; s < segments; s++) {
    const size_t begin = static_cast<size_t>(starts[s]), end = static_cast<size_t>(starts[s + 1]), n = end - begin;
    if (n > kCounted || (n > 1 && op.tieTolerance > 0)) {
      sorted.push_back({begin, end, at, sums.of(stream, n)});
      at += n;
    } else if (n > 0) {
      least = n < least ? n : least;
      most = n > most ? n : most;
    }
  }
  const double* x = op.rewards.data;
  const int32_t* on_device = op.segmentStarts.data;
  double* out = op.advantages.data;
  if (least <= kLanes) {
    const auto launch = [&]<int G>(std::integral_constant<int, G>) {
      cuda::launch(stream, by_lanes<G>, cuda::blocks_for(segments * G), cuda::kThreads, x, on_device, segments, sums.small(stream), out, refusal);
    };
    if (most <= 8) launch(std::integral_constant<int, 8>{});
    else if (most <= 16) launch(std::integral_constant<int, 16>{});
    else launch(std::integral_constant<int, 32>{});
  }
  if (most > kLanes)
    cuda::launch(stream, by_block, static_cast<unsigned>(segments), cuda::kThreads, x, on_device, sums.small(stream), out, refusal);
  // last: where near rewards are tied, small segments have been counted too, and are now written over
  if (!sorted.empty()) by_sorting(stream, op, sorted, refusal);
}

}  // namespace g2rpo
