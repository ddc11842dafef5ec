// What kernels on an NVIDIA GPU share: its errors, memory that is there for one launch, and failures that only the device sees.
#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../core/kernel.h"

namespace g2rpo {

namespace cuda {
class Blas;
}

/** A CUDA stream, and the first element that one of its kernels refused. */
struct DeviceQueue {
  static constexpr unsigned kValues = 6;
  struct Reason {
    const char* code;
    /** of the element, and of what the kernel said beside it */
    std::function<std::string(size_t element, const int32_t (&values)[kValues])> message;
  };
  cudaStream_t stream = nullptr;
  /** on the device: number of the refusal · 2⁴⁰ + element, then kValues times element · 2³² + value; all ones where there is none */
  unsigned long long* refused = nullptr;
  std::vector<Reason> reasons;  // by their number
  std::shared_ptr<cuda::Blas> blas;  // since the first product by cuBLASLt
  bool wants_blas = true, wants_warpgroups = true;

  DeviceQueue();
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
};

namespace cuda {

/** @throws OUT_OF_MEMORY, DEVICE_FAILED, DEVICE_LOST  naming what was being done */
void check(cudaError_t status, const char* doing);
/** Of a call that failed: whether all that follow will. The runtime forgets the failure. */
bool is_lost(cudaError_t status);
/**
 * Starts a kernel in a grid of blocks, with so many bytes of dynamic shared memory. Instead of `<<<>>>`, so that a plain C++ compiler can
 * read kernels too (tests/cuda/emulator).
 */
template <class... P, class... A>
void launch_shared(Stream& stream, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, const A&... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared, config.stream = stream.queue->stream;
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), "asking for shared memory");
  check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...), "starting a kernel");
}
template <class... P, class... A>
void launch(Stream& stream, void (*kernel)(P...), dim3 grid, dim3 block, const A&... args) {
  launch_shared(stream, kernel, grid, block, 0, args...);
}

/** How many multiprocessors the device has. */
unsigned processors();
/** Whether kernels of ptx/warpgroup.cuh run here: the device is of compute capability 9.0 and code was compiled for 90a. */
bool has_warpgroups(const Stream& stream);

/** Waits for all that was enqueued; what a kernel refused becomes the stream's failure. */
void wait(Stream& stream);

/**
 * How a kernel refuses an element: the first refusal that was asked for wins, and of one the first element, whatever order blocks run in.
 * A value that the message names is minimised under the element too. Two refusals with values that one launch may meet must be
 * DeviceQueue::kValues numbers apart, or of one thread; those of later launches use none, since they see that an earlier one has failed.
 */
struct Refusal {
  unsigned long long *words, number;
  template <class... V> __device__ void at(size_t element, V... values) const {
    if (atomicMin(words, number << 40 | element) >> 40 < number) return;
    unsigned long long slot = number;
    (atomicMin(words + 1 + slot++ % DeviceQueue::kValues, static_cast<unsigned long long>(element) << 32 | static_cast<uint32_t>(values)), ...);
  }
};
Refusal refusal(Stream& stream, const char* code, const char* message);
Refusal refusal(Stream& stream, const char* code, decltype(DeviceQueue::Reason::message) message);

/** Elements on the device until the launches that were enqueued meanwhile are done. */
template <class T> class Temporary {
 public:
  Temporary(Stream& stream, size_t count) : stream_(stream.queue->stream) {
    check(cudaMallocAsync(&data_, count ? count * sizeof(T) : 1, stream_), "allocating");
  }
  ~Temporary() { cudaFreeAsync(data_, stream_); }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  T* get() const { return static_cast<T*>(data_); }
  void fill_from(const T* host, size_t count) {
    check(cudaMemcpyAsync(data_, host, count * sizeof(T), cudaMemcpyHostToDevice, stream_), "copying to the device");
  }
  void fill_bytes(int byte, size_t count) { check(cudaMemsetAsync(data_, byte, count * sizeof(T), stream_), "clearing"); }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
};

/** What launch_shared asked for. */
extern __shared__ uint4 dynamic_shared[];

constexpr unsigned kThreads = 256;
/** Blocks for n items, so many to a block. */
inline unsigned blocks_for(size_t n, size_t each = kThreads) { return static_cast<unsigned>((n + each - 1) / each); }
/** Threads of a block that shares n items, of which there are some: whole warps. */
inline unsigned threads_for(size_t n) { return n >= kThreads ? kThreads : static_cast<unsigned>((n + 31) / 32 * 32); }
__device__ inline size_t global_index() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/** The last of `count` groups that begins at or before `place`; starts rise, the first one's is not behind it. */
template <class S> __device__ size_t group_of(const S* starts, size_t count, size_t place) {
  size_t low = 0, high = count;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (static_cast<size_t>(starts[middle]) <= place ? low : high) = middle;
  }
  return low;
}

/** The sum over a warp, or over each Lanes neighbours of it, in every lane, in a fixed order. */
template <int Lanes = 32, class T> __device__ T warp_sum(T x) {
  for (int by = Lanes / 2; by > 0; by /= 2) x += __shfl_xor_sync(~0u, x, by);
  return x;
}
/** The largest number likewise; NaN of another lane is passed over. */
template <int Lanes = 32, class T> __device__ T warp_max(T x) {
  for (int by = Lanes / 2; by > 0; by /= 2) {
    const T other = __shfl_xor_sync(~0u, x, by);
    x = other > x ? other : x;
  }
  return x;
}

/** The sum over a block of whole warps, in every thread, in a fixed order; `partial` holds 32 and is free afterwards. */
template <class T> __device__ T block_sum(T x, T* partial) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  x = threadIdx.x % 32 < blockDim.x / 32 ? partial[threadIdx.x % 32] : T(0);
  x = warp_sum(x);
  __syncthreads();
  return x;
}

}  // namespace cuda

}  // namespace g2rpo
