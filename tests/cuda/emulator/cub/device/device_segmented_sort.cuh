// In the place of CUB's: the same results, by the CPU.
#pragma once
#include <cuda_runtime.h>

#include <numeric>
#include <vector>

namespace cub {

struct DeviceSegmentedSort {
  template <class K, class V>
  static cudaError_t SortPairs(void* memory, size_t& bytes, const K* keys, K* sorted_keys, const V* values, V* sorted_values, int, int segments,
                               const int* begins, const int* ends, cudaStream_t) {
    if (!memory) return bytes = 1, cudaSuccess;
    return emulated_work([=] {
      for (int s = 0; s < segments; s++) {
        std::vector<int> order(static_cast<size_t>(ends[s] - begins[s]));
        std::iota(order.begin(), order.end(), begins[s]);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return keys[a] < keys[b]; });
        for (size_t i = 0; i < order.size(); i++) {
          sorted_keys[static_cast<size_t>(begins[s]) + i] = keys[order[i]];
          sorted_values[static_cast<size_t>(begins[s]) + i] = values[order[i]];
        }
      }
      return cudaSuccess;
    });
  }
};

}  // namespace cub
