// Segments that are too long for a block's shared memory: all rewards together are sorted by value, then by segment, and scanned for ties.
#pragma once
#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
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

/** That of a place in the sorted lists, or of a row if it is looked for by `begin`. */
__device__ size_t segment_of(const Sorted* segments, size_t count, size_t place, size_t Sorted::*from = &Sorted::at) {
  size_t low = 0, high = count;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (segments[middle].*from <= place ? low : high) = middle;
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
  values[place] = v == v ? v : 0;
  rows[place] = static_cast<int32_t>(row);
}

__global__ void find_segments(const int32_t* rows, const Sorted* segments, size_t count, size_t total, int32_t* found) {
  const size_t p = cuda::global_index();
  if (p < total) found[p] = static_cast<int32_t>(segment_of(segments, count, static_cast<size_t>(rows[p]), &Sorted::begin));
}

/** begins[p] = p and ends[p] = p where a block of tied rewards begins; 0 and `total` elsewhere: scans make bounds of them. */
__global__ void find_blocks(const double* x, const int32_t* rows, const Sorted* segments, size_t count, size_t total, double tolerance, int32_t* begins, int32_t* ends) {
  const size_t p = cuda::global_index();
  if (p >= total) return;
  const bool first = segments[segment_of(segments, count, p)].at == p;
  // two infinities of one sign differ by NaN, which is not a distance: equal values are tied whatever they are
  const double here = x[rows[p]], before = first ? here : x[rows[p - 1]];
  const bool tied = !first && (here == before || here - before <= tolerance);
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

/** Rows in the order of their keys' lowest bits, equals as they were. */
template <class K> void sort_rows(Stream& stream, const K* keys, K* sorted, const int32_t* rows, int32_t* sorted_rows, size_t n, int bits) {
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(memory, bytes, keys, sorted, rows, sorted_rows, static_cast<int>(n), 0, bits, stream.queue->stream);
  });
}

void by_sorting(Stream& stream, const GaussianAdvantage& op, const std::vector<Sorted>& segments, cuda::Refusal refusal) {
  auto* queue = stream.queue->stream;
  const size_t count = segments.size(), total = segments.back().at + (segments.back().end - segments.back().begin);
  cuda::Temporary<Sorted> table(stream, count);
  table.fill_from(segments.data(), count);
  cuda::Temporary<int32_t> rows(stream, total), sorted_rows(stream, total), begins(stream, total), ends(stream, total);
  cuda::Temporary<double> values(stream, total), sorted(stream, total);
  const unsigned blocks = cuda::blocks_for(total);
  cuda::launch(stream, gather, blocks, cuda::kThreads, op.rewards.data, table.get(), count, total, values.get(), rows.get(), refusal);
  sort_rows(stream, values.get(), sorted.get(), rows.get(), sorted_rows.get(), total, 64);
  const int32_t* order = sorted_rows.get();
  if (count > 1) {
    cuda::launch(stream, find_segments, blocks, cuda::kThreads, order, table.get(), count, total, begins.get());
    sort_rows(stream, begins.get(), ends.get(), order, rows.get(), total, static_cast<int>(std::bit_width(count - 1)));
    order = rows.get();
  }
  cuda::launch(stream, find_blocks, blocks, cuda::kThreads, op.rewards.data, order, table.get(), count, total, op.tieTolerance, begins.get(), ends.get());
  const int n = static_cast<int>(total);
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    return cub::DeviceScan::InclusiveScan(memory, bytes, begins.get(), begins.get(), Larger{}, n, queue);
  });
  with_scratch(stream, [&](void* memory, size_t& bytes) {
    const auto last = thrust::make_reverse_iterator(ends.get() + total);
    return cub::DeviceScan::InclusiveScan(memory, bytes, last, last, Smaller{}, n, queue);
  });
  cuda::launch(stream, scatter, blocks, cuda::kThreads, table.get(), count, total, order, begins.get(), ends.get(), op.advantages.data);
}

}  // namespace

}  // namespace g2rpo
