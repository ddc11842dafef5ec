#include "device.h"

#include <string>

#include "../../core/status.h"

namespace g2rpo {

namespace {
constexpr unsigned long long kNone = ~0ull;
}

DeviceQueue::DeviceQueue() {
  cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  cuda::check(cudaMalloc(&refused, sizeof *refused), "allocating");
  cuda::check(cudaMemset(refused, 0xff, sizeof *refused), "clearing");
}

DeviceQueue::~DeviceQueue() {
  cudaFree(refused);
  cudaStreamDestroy(stream);
}

namespace cuda {

void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  throw Error(status == cudaErrorMemoryAllocation ? "OUT_OF_MEMORY" : "DEVICE_FAILED",
              std::string("cuda: ") + doing + ": " + cudaGetErrorString(status));
}

Refusal refusal(Stream& stream, const char* code, const char* message) {
  auto& q = *stream.queue;
  q.reasons.push_back({code, message});
  return {q.refused, q.reasons.size() - 1};
}

void wait(Stream& stream) {
  auto& q = *stream.queue;
  unsigned long long refused = kNone;
  check(cudaMemcpyAsync(&refused, q.refused, sizeof refused, cudaMemcpyDeviceToHost, q.stream), "reading failures");
  check(cudaStreamSynchronize(q.stream), "waiting");
  if (refused != kNone) {
    const auto& reason = q.reasons[refused >> 40];
    fail(stream, reason.code, reason.message);
    check(cudaMemsetAsync(q.refused, 0xff, sizeof *q.refused, q.stream), "clearing");
  }
  q.reasons.clear();
}

}  // namespace cuda

}  // namespace g2rpo
