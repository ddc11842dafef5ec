// In the place of CUB's: the same results, by the CPU.
#pragma once
#include <cuda_runtime.h>

namespace cub {

struct DeviceScan {
  template <class In, class Out, class F>
  static cudaError_t InclusiveScan(void* memory, size_t& bytes, In in, Out out, F f, int n, cudaStream_t) {
    if (!memory) return bytes = 1, cudaSuccess;
    return emulated_work([=]() mutable {
      if (n == 0) return cudaSuccess;
      auto from = in;
      auto to = out;
      auto sum = *from;
      *to = sum;
      for (int i = 1; i < n; i++) *++to = sum = f(sum, *++from);
      return cudaSuccess;
    });
  }
};

}  // namespace cub
