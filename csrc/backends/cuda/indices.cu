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
}  // namespace

void find_targets(Stream& stream, const RowIndices& target, const RowIndices& source, size_t count, int32_t* keys) {
  launch(stream, find, blocks_for(count), kThreads, target, source, count, keys);
}

void SortedKeys::sort(Stream& stream, int32_t* unsorted, size_t bound) {
  if (count == 0) return;
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
