// In the place of CUB's: the same results, by the CPU. Whole numbers are not negative.
#pragma once
#include <cuda_runtime.h>

#include <numeric>
#include <vector>

namespace cub {

struct DeviceRadixSort {
  template <class K, class V>
  static cudaError_t SortPairs(void* memory, size_t& bytes, const K* keys, K* sorted, const V* values, V* sorted_values, int n, int first_bit, int end_bit, cudaStream_t) {
    if (!memory) return bytes = 1, cudaSuccess;
    return emulated_work([=] {
      std::vector<int> order(static_cast<size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      const auto digits = [&](int i) {
        if constexpr (std::is_floating_point_v<K>) return keys[i];  // by all of their bits, zeros of both signs being equal
        else return static_cast<uint64_t>(keys[i]) << (64 - end_bit) >> (64 - end_bit) >> first_bit;
      };
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return digits(a) < digits(b); });
      for (int i = 0; i < n; i++) sorted[i] = keys[order[static_cast<size_t>(i)]], sorted_values[i] = values[order[static_cast<size_t>(i)]];
      return cudaSuccess;
    });
  }
};

}  // namespace cub
