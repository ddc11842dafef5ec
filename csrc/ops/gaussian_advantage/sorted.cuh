// Segments that are too long for a block's shared memory: sorted together by CUB, then scanned for ties.
#pragma once
#include <cub/device/device_scan.cuh>
#include <cub/device/device_segmented_sort.cuh>
#include <thrust/iterator/reverse_iterator.h>

#include "op.h"
#include "sums.cuh"

namespace g2rpo {

namespace {

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

}  // namespace g2rpo
