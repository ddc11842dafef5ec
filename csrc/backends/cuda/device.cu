#include "device.h"

#include <string>

#include "../../core/status.h"

namespace g2rpo {

namespace {
constexpr unsigned long long kNone = ~0ull;
constexpr size_t kWords = 1 + DeviceQueue::kValues;
}

DeviceQueue::DeviceQueue() {
  cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  cuda::check(cudaMalloc(&refused, kWords * sizeof *refused), "allocating");
  cuda::check(cudaMemsetAsync(refused, 0xff, kWords * sizeof *refused, stream), "clearing");
  // what launches had for themselves stays with the process: by default it is unmapped whenever the stream is waited for, which costs milliseconds
  int device = 0;
  cudaMemPool_t pool;
  uint64_t keep = UINT64_MAX;
  cuda::check(cudaGetDevice(&device), "looking for a device");
  cuda::check(cudaDeviceGetDefaultMemPool(&pool, device), "looking for memory");
  cuda::check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "keeping memory");
}

DeviceQueue::~DeviceQueue() {
  cudaFree(refused);
  cudaStreamDestroy(stream);
}

namespace cuda {

namespace {

/** After which a process gets nothing else from any call, as the CUDA runtime documents (cudaError_t), or in fact. */
bool is_for_good(cudaError_t status) {
  switch (static_cast<int>(status)) {
    case 214:                                                    // uncorrectable ECC error
    case 220:                                                    // uncorrectable NVLink error
    case 226:                                                    // contained exception
    case 700: case 702: case 709: case 710:                      // illegal address, timeout of a launch, destroyed context, assertion
    case 714: case 715: case 716: case 717: case 718: case 719:  // stack, instruction, alignment, address space, program counter, unspecified
    case 721:                                                    // leak of tensor memory
    case 810: case 911: case 999:                                // client of MPS ended, external device, unknown
      return true;
    default:
      return false;
  }
}

}  // namespace

bool is_lost(cudaError_t status) {
  cudaGetLastError();  // it has been told of: what comes next is not to find it
  return is_for_good(status) || cudaGetLastError() != cudaSuccess;
}

void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  const std::string what = std::string("cuda: ") + doing + ": " + cudaGetErrorString(status);
  if (is_lost(status))
    throw Error("DEVICE_LOST", what + "; this process has lost the device, and has to be started again");
  throw Error(status == cudaErrorMemoryAllocation ? "OUT_OF_MEMORY" : "DEVICE_FAILED", what);
}

namespace {
int attribute(cudaDeviceAttr wanted) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "looking for a device");
  check(cudaDeviceGetAttribute(&value, wanted, device), "looking for a device");
  return value;
}
}  // namespace

unsigned processors() {
  static const int count = attribute(cudaDevAttrMultiProcessorCount);  // of the one device that a process has
  return static_cast<unsigned>(count);
}

bool has_warpgroups([[maybe_unused]] const Stream& stream) {
#ifdef G2RPO_WARPGROUPS
  static const bool there = attribute(cudaDevAttrComputeCapabilityMajor) == 9 && attribute(cudaDevAttrComputeCapabilityMinor) == 0;
  return there && stream.queue->wants_warpgroups;
#else
  return false;
#endif
}

Refusal refusal(Stream& stream, const char* code, decltype(DeviceQueue::Reason::message) message) {
  auto& q = *stream.queue;
  q.reasons.push_back({code, std::move(message)});
  return {q.refused, q.reasons.size() - 1};
}
Refusal refusal(Stream& stream, const char* code, const char* message) {
  return refusal(stream, code, [message](size_t, const auto&) -> std::string { return message; });
}

void wait(Stream& stream) {
  auto& q = *stream.queue;
  unsigned long long words[kWords];
  check(cudaMemcpyAsync(words, q.refused, sizeof words, cudaMemcpyDeviceToHost, q.stream), "reading failures");
  check(cudaStreamSynchronize(q.stream), "waiting");
  if (words[0] != kNone) {
    const size_t number = words[0] >> 40, element = words[0] & ((1ull << 40) - 1);
    int32_t values[DeviceQueue::kValues];
    for (size_t i = 0; i < DeviceQueue::kValues; i++) values[i] = static_cast<int32_t>(words[1 + (number + i) % DeviceQueue::kValues]);
    fail(stream, q.reasons[number].code, q.reasons[number].message(element, values).c_str());
    check(cudaMemsetAsync(q.refused, 0xff, sizeof words, q.stream), "clearing");
  }
  q.reasons.clear();
}

}  // namespace cuda

}  // namespace g2rpo
