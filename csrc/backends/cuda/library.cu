// What the addon loads: the first NVIDIA GPU as a device.
#include "../../core/accelerator.h"
#include "../../core/registry.h"
#include "../../core/status.h"
#include "blas.h"
#include "device.h"

namespace g2rpo {

namespace {

class Gpu : public Accelerator {
 public:
  Gpu() {
    cudaDeviceProp properties;
    cuda::check(cudaGetDeviceProperties(&properties, 0), "asking for the device's properties");
    char memory[32];
    std::snprintf(memory, sizeof memory, "%.0f GB", static_cast<double>(properties.totalGlobalMem) / 1e9);
    description_ = std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
                   std::to_string(properties.minor) + ", " + memory;
  }
  Backend backend() const override { return Backend::cuda; }
  const char* description() const override { return description_.c_str(); }
  const char* products() const override { return cuda::blas_found().words.c_str(); }
  DeviceQueue* queue() override { return &queue_; }

  void* allocate(size_t bytes) override {
    void* data = nullptr;
    cuda::check(cudaMallocAsync(&data, bytes ? bytes : 1, queue_.stream), ("allocating " + std::to_string(bytes) + " bytes").c_str());
    return data;
  }
  void deallocate(void* data) noexcept override { cudaFreeAsync(data, queue_.stream); }
  void upload(void* to, const void* from, size_t bytes) override { move(to, from, bytes, cudaMemcpyHostToDevice, "copying to the device"); }
  void copy(void* to, const void* from, size_t bytes) override { move(to, from, bytes, cudaMemcpyDeviceToDevice, "copying"); }
  void download(void* to, const void* from, size_t bytes) override {
    move(to, from, bytes, cudaMemcpyDeviceToHost, "copying from the device");
    cuda::check(cudaStreamSynchronize(queue_.stream), "waiting");
  }
  void clear(void* data, size_t bytes) override {
    if (bytes) cuda::check(cudaMemsetAsync(data, 0, bytes, queue_.stream), "clearing");
  }
  void finish(Stream& stream) override { cuda::wait(stream); }

 private:
  void move(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, const char* doing) {
    if (bytes) cuda::check(cudaMemcpyAsync(to, from, bytes, kind, queue_.stream), doing);
  }
  DeviceQueue queue_;
  std::string description_;
};

Accelerator* open() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    throw Error("BACKEND_UNAVAILABLE", std::string("cuda: no device: ") + (status == cudaSuccess ? "none is visible" : cudaGetErrorString(status)));
  return new Gpu;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const AcceleratorLibrary g2rpo_library;
const AcceleratorLibrary g2rpo_library{G2RPO_SOURCES, kernels_begin(), kernels_end(), open};

}  // namespace g2rpo
