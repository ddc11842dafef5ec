#include "indices.h"

#include <bit>
#include <cub/device/device_radix_sort.cuh>

namespace g2rpo::cuda {

namespace {
__global__ void count_up(size_t n, int32_t* x) {
  const size_t i = global_index();
  if (i < n) x[i] = static_cast<int32_t>(i);
}

__global__ void find(RowIndices target, RowIndices source, size_t count, int32_t* keys) {
  const size_t k = global_index();
  if (k >= count) return;
  size_t to, from;
  const bool moves = source.find(k, from);
  keys[k] = static_cast<int32_t>(target.find(k, to) && moves ? to : target.range.count);
}

constexpr size_t kCounted = 8192;          // as many keys are compared each with each sooner than they are sorted digit by digit
constexpr size_t kFaced = 4 * kThreads;    // keys that those of a block are compared with

/** places[k] += how many of some keys come before key k: block (x, y) compares 256 keys with kFaced others. */
__global__ void count_before(const int32_t* keys, size_t count, uint32_t* places) {
  __shared__ int4 faced[kThreads / 4];
  const size_t k = global_index();
  const int32_t own = k < count ? keys[k] : 0;
  uint32_t before = 0;
  for (size_t first = blockIdx.y * kFaced; first < (blockIdx.y + 1) * kFaced && first < count; first += kThreads) {
    const size_t j = first + threadIdx.x;
    __syncthreads();
    reinterpret_cast<int32_t*>(faced)[threadIdx.x] = j < count ? keys[j] : INT32_MAX;
    __syncthreads();
    if (first == blockIdx.x * kThreads) {
      for (unsigned i = 0; i < kThreads; i++) {
        const int32_t other = reinterpret_cast<const int32_t*>(faced)[i];
        before += other < own || (other == own && i < threadIdx.x);
      }
    } else {
      const int32_t bound = own + (first < k);  // of equals those that stand before; keys are less than INT32_MAX
#pragma unroll 8
      for (unsigned i = 0; i < kThreads / 4; i++) {
        const int4 others = faced[i];
        before += (others.x < bound) + (others.y < bound) + (others.z < bound) + (others.w < bound);
      }
    }
  }
  if (k < count && before) atomicAdd(places + k, before);
}

__global__ void put_in_place(const int32_t* keys, size_t count, const uint32_t* places, int32_t* sorted, int32_t* order) {
  const size_t k = global_index();
  if (k >= count) return;
  sorted[places[k]] = keys[k], order[places[k]] = static_cast<int32_t>(k);
}
}  // namespace

void find_targets(Stream& stream, const RowIndices& target, const RowIndices& source, size_t count, int32_t* keys) {
  launch(stream, find, blocks_for(count), kThreads, target, source, count, keys);
}

void SortedKeys::sort(Stream& stream, const int32_t* unsorted, size_t bound) {
  if (count == 0) return;
  if (count <= kCounted) {
    Temporary<uint32_t> places(stream, count);
    places.fill_bytes(0, count);
    launch(stream, count_before, dim3(blocks_for(count), blocks_for(count, kFaced)), kThreads, unsorted, count, places.get());
    return launch(stream, put_in_place, blocks_for(count), kThreads, unsorted, count, places.get(), keys.get(), order.get());
  }
  Temporary<int32_t> places(stream, count);
  launch(stream, count_up, blocks_for(count), kThreads, count, places.get());
  const int bits = static_cast<int>(std::bit_width(bound > 1 ? bound - 1 : 1));
  size_t bytes = 0;
  const auto sort = [&](void* memory) {
    check(cub::DeviceRadixSort::SortPairs(memory, bytes, unsorted, keys.get(), places.get(), order.get(), static_cast<int>(count), 0, bits, stream.queue->stream), "sorting");
  };
  sort(nullptr);
  const Temporary<char> memory(stream, bytes);
  sort(memory.get());
}

}  // namespace g2rpo::cuda
