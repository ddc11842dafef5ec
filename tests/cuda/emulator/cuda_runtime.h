// In the place of CUDA's header where there is no GPU: kernels run on the CPU, every thread of a block a fiber that gives way where it
// waits for others. For the logic of kernels, their indices and their synchronisation, not for their speed. Blocks run one after the
// other; the order in which the threads of a block go on changes from launch to launch, so that a missing barrier shows.
#pragma once
#include <math.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __constant__ static const
#define __launch_bounds__(...)
// all threads of a block run on one thread of the system: what is one for it is one for them
#define __shared__ thread_local

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline thread_local uint3 threadIdx{}, blockIdx{};
inline thread_local dim3 blockDim, gridDim;

#define G2_VECTOR(type, name)                                                                                   \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                                      \
  struct alignas(sizeof(type) < 8 ? 4 * sizeof(type) : 16) name##4 { type x, y, z, w; };                        \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                              \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
G2_VECTOR(float, float)
G2_VECTOR(double, double)
G2_VECTOR(int, int)
G2_VECTOR(unsigned, uint)
#undef G2_VECTOR

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInsufficientDriver = 35, cudaErrorNoDevice = 100, cudaErrorECCUncorrectable = 214, cudaErrorLaunchOutOfResources = 701 };
inline const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorECCUncorrectable: return "uncorrectable ECC error encountered";
    case cudaErrorLaunchOutOfResources: return "too many resources requested for launch";
    default: return "invalid value";
  }
}

namespace emulator {

/** Memory of the device: filled with what no kernel should read; an access behind its end, or after its release, ends the process. */
cudaError_t allocate(void** data, size_t bytes);
cudaError_t release(void* data);
/** It stays, but no test counts it any more: what a graph uses is given back with the graph. */
void no_longer_count(void* data);
/** Whether so many bytes from there on are the device's. */
bool of_device(const void* data, size_t bytes);
/** What is recorded instead of being done, in order, and memory that it uses until it is dropped. */
struct Recording {
  std::vector<std::function<cudaError_t()>> work;
  std::vector<void*> memory;
  ~Recording();
};
inline thread_local Recording* recording = nullptr;
/** Whether a test has let the device be lost: from then on every call fails with that. */
bool lost();
/** How many devices there are to be found: one, or what G2RPO_EMULATED_DEVICES says. */
int devices();
/** How much shared memory a block may ask for: that of compute capability 9.0, or what G2RPO_EMULATED_SHARED_BYTES says. */
size_t shared_bytes();
/** Whether graphs are made of what was recorded: unless G2RPO_EMULATED_NO_GRAPHS is there. */
bool makes_graphs();
/** Runs one thread of the device for every index of a block, for every block. `shared` bytes are there for cuda::dynamic_shared. */
cudaError_t run(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread);

void block_barrier();
/** For what waits by looking again and again: others go on; they have to say that something moved, or the block is given up. */
void wait_a_turn();
void moved();
/** Every lane of the calling warp hands over `size` bytes and gets those of all: [32][size]. Lanes that have ended are not waited for. */
const unsigned char* warp_exchange(const void* mine, size_t size);
unsigned lane();

}  // namespace emulator

inline void __syncthreads() { emulator::block_barrier(); }
inline void __syncwarp(unsigned = ~0u) { emulator::warp_exchange(nullptr, 0); }
inline void __threadfence() {}
inline void __trap() { std::abort(); }

template <class T> T emulated_shuffle(T x, unsigned from) {
  T value;
  std::memcpy(&value, emulator::warp_exchange(&x, sizeof x) + from * sizeof x, sizeof x);
  return value;
}
template <class T> T __shfl_sync(unsigned, T x, int from, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = emulator::lane();
  return emulated_shuffle(x, lane / w * w + static_cast<unsigned>(from) % w);
}
template <class T> T __shfl_xor_sync(unsigned, T x, int mask, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = emulator::lane(), to = lane ^ static_cast<unsigned>(mask);
  return emulated_shuffle(x, to / w == lane / w ? to : lane);
}
template <class T> T __shfl_down_sync(unsigned, T x, unsigned by, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = emulator::lane(), to = lane + by;
  return emulated_shuffle(x, to / w == lane / w ? to : lane);
}
template <class T> T __shfl_up_sync(unsigned, T x, unsigned by, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = emulator::lane();
  return emulated_shuffle(x, lane % w >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  const uint8_t mine = predicate != 0;
  const auto* all = emulator::warp_exchange(&mine, 1);
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; i++) bits |= static_cast<unsigned>(all[i] & 1) << i;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline unsigned __activemask() { return ~0u; }

// one thread of the system: plain memory is atomic
template <class T> T atomicAdd(T* at, T x) { return std::exchange(*at, *at + x); }
template <class T> T atomicMin(T* at, T x) { return std::exchange(*at, std::min(*at, x)); }
template <class T> T atomicMax(T* at, T x) { return std::exchange(*at, std::max(*at, x)); }
template <class T> T atomicExch(T* at, T x) { return std::exchange(*at, x); }
template <class T> T atomicOr(T* at, T x) { return std::exchange(*at, *at | x); }
template <class T> T atomicCAS(T* at, T expected, T x) { return *at == expected ? std::exchange(*at, x) : *at; }

template <class T> T __ldg(const T* at) { return *at; }
template <class T> T __ldcs(const T* at) { return *at; }
template <class T> void __stcs(T* at, T x) { *at = x; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
template <class To, class From> To emulated_bits(From x) {
  To to;
  std::memcpy(&to, &x, sizeof to);
  return to;
}
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
using std::max;
using std::min;

// the host's side: everything is done when the call returns, but for copies of a stream that was made with a priority: those are done at the last moment, when
// another stream waits for them, so that a wait that is missing shows
struct CUstream_st {
  std::deque<std::function<int()>> copies;
  size_t done = 0;
};
using cudaStream_t = CUstream_st*;
/** How far a stream was when it was recorded. */
struct emulated_event {
  CUstream_st* stream;
  size_t copies;
};
using cudaEvent_t = emulated_event*;
#define G2_UNLESS_LOST if (emulator::lost()) return cudaErrorECCUncorrectable
enum { cudaStreamNonBlocking = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { G2_UNLESS_LOST; return *s = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned, int) { G2_UNLESS_LOST; return *s = new CUstream_st, cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t s) { return delete s, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { G2_UNLESS_LOST; return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { G2_UNLESS_LOST; return cudaSuccess; }
inline cudaError_t cudaGetLastError() { G2_UNLESS_LOST; return cudaSuccess; }
template <class T> cudaError_t cudaMalloc(T** data, size_t bytes) { G2_UNLESS_LOST; return emulator::allocate(reinterpret_cast<void**>(data), bytes); }
template <class T> cudaError_t cudaMallocAsync(T** data, size_t bytes, cudaStream_t) { G2_UNLESS_LOST; return cudaMalloc(data, bytes); }
template <class T> cudaError_t cudaMallocHost(T** data, size_t bytes) {
  G2_UNLESS_LOST;
  *data = static_cast<T*>(std::malloc(bytes));
  return *data ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* data) { G2_UNLESS_LOST; return emulator::release(data); }
inline cudaError_t cudaFreeHost(void* data) { return std::free(data), cudaSuccess; }
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
  G2_UNLESS_LOST;
  if (!emulator::recording) return emulator::release(data);
  emulator::no_longer_count(data);
  return emulator::recording->memory.push_back(data), cudaSuccess;
}
/** Does something at once, or whenever what is recorded is done. */
template <class F> cudaError_t emulated_work(F&& f) {
  if (!emulator::recording) return f();
  return emulator::recording->work.emplace_back(f), cudaSuccess;
}
inline cudaError_t cudaMemset(void* to, int value, size_t bytes) { G2_UNLESS_LOST; return std::memset(to, value, bytes), cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  G2_UNLESS_LOST;
  return emulated_work([=] { return cudaMemset(to, value, bytes); });
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  G2_UNLESS_LOST;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes && kind != cudaMemcpyDefault && (emulator::of_device(to, bytes) != to_device || emulator::of_device(from, bytes) != from_device)) return cudaErrorInvalidValue;
  if (bytes) std::memmove(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
  G2_UNLESS_LOST;
  if (s) return s->copies.emplace_back([=] { return static_cast<int>(cudaMemcpy(to, from, bytes, kind)); }), cudaSuccess;
  return emulated_work([=] { return cudaMemcpy(to, from, bytes, kind); });
}

// graphs
using cudaGraph_t = emulator::Recording*;
using cudaGraphExec_t = emulator::Recording*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  G2_UNLESS_LOST;
  if (emulator::recording) return cudaErrorInvalidValue;
  return emulator::recording = new emulator::Recording, cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(emulator::recording, nullptr);
  if (emulator::lost()) delete std::exchange(*graph, nullptr);
  G2_UNLESS_LOST;
  return cudaSuccess;
}
/** Takes what was recorded; the graph itself holds nothing then. */
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  G2_UNLESS_LOST;
  if (!emulator::makes_graphs()) return cudaErrorMemoryAllocation;
  *made = new emulator::Recording;
  std::swap((*made)->work, graph->work), std::swap((*made)->memory, graph->memory);
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete graph, cudaSuccess; }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  G2_UNLESS_LOST;
  for (const auto& each : graph->work)
    if (const cudaError_t status = each(); status != cudaSuccess) return status;
  return cudaSuccess;
}
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <class F> cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int) { return cudaSuccess; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};
template <class... P, class... A> cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* c, void (*kernel)(P...), A&&... args) {
  G2_UNLESS_LOST;
  return emulated_work([=, grid = c->gridDim, block = c->blockDim, shared = c->dynamicSmemBytes, given = std::tuple<P...>(static_cast<P>(args)...)] {
    return emulator::run(grid, block, shared, [&] { std::apply(kernel, given); });
  });
}

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  G2_UNLESS_LOST;
  *p = {"emulated on the CPU", size_t{1} << 33, emulator::shared_bytes(), 9, 0, 4};
  return cudaSuccess;
}
/** Below 0: as the runtime is without a driver. */
inline cudaError_t cudaGetDeviceCount(int* count) {
  G2_UNLESS_LOST;
  *count = emulator::devices();
  return *count > 0 ? cudaSuccess : *count < 0 ? cudaErrorInsufficientDriver : cudaErrorNoDevice;
}
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = emulator::devices() < 0 ? 0 : 13000, cudaSuccess; }
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr wanted, int) {
  G2_UNLESS_LOST;
  *value = wanted == cudaDevAttrMultiProcessorCount ? 4 : wanted == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) { G2_UNLESS_LOST; return *device = 0, cudaSuccess; }
struct emulated_pool;
using cudaMemPool_t = emulated_pool*;
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold };
inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) { G2_UNLESS_LOST; return *pool = nullptr, cudaSuccess; }
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { G2_UNLESS_LOST; return cudaSuccess; }
// no clock: times of an emulation say nothing
inline cudaError_t cudaEventCreate(cudaEvent_t* e) { G2_UNLESS_LOST; return *e = new emulated_event{}, cudaSuccess; }
enum { cudaEventDisableTiming = 2 };
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { G2_UNLESS_LOST; return cudaEventCreate(e); }
inline cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { G2_UNLESS_LOST; return *e = {s, s ? s->done + s->copies.size() : 0}, cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, unsigned) {
  G2_UNLESS_LOST;
  for (auto* s = e->stream; s && s->done < e->copies; s->done++, s->copies.pop_front())
    if (const int status = s->copies.front()(); status != cudaSuccess) return static_cast<cudaError_t>(status);
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { G2_UNLESS_LOST; return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) { G2_UNLESS_LOST; return *ms = 1, cudaSuccess; }
