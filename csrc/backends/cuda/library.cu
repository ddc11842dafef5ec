// What the addon loads: the first NVIDIA GPU as a device.
#include <cstring>
#include <memory>
#include <mutex>

#include "../../core/accelerator.h"
#include "../../core/registry.h"
#include "../../core/status.h"
#include "blas.h"
#include "device.h"
#include "graphs.h"

namespace g2rpo {

namespace {

/** Memory of the host through which much of it goes to the device: the driver's own way is slower, and its caller waits for it. */
class Staging {
 public:
  static constexpr size_t kPiece = size_t{4} << 20, kPieces = 8;
  Staging() {
    cuda::check(cudaMallocHost(&memory_, kPiece * kPieces), "allocating memory of the host for copies");
    for (auto& event : gone_) cuda::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  }
  ~Staging() {
    for (auto& event : gone_) cudaEventDestroy(event);
    cudaFreeHost(memory_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void send(char* to, const char* from, size_t bytes, cudaStream_t stream) {
    for (size_t at = 0; at < bytes; at += kPiece, next_ = (next_ + 1) % kPieces) {
      const size_t size = bytes - at < kPiece ? bytes - at : kPiece;
      char* const piece = memory_ + next_ * kPiece;
      cuda::check(cudaEventSynchronize(gone_[next_]), "waiting for a copy");
      std::memcpy(piece, from + at, size);
      cuda::check(cudaMemcpyAsync(to + at, piece, size, cudaMemcpyHostToDevice, stream), "copying to the device");
      cuda::check(cudaEventRecord(gone_[next_], stream), "recording an event");
    }
  }

 private:
  char* memory_ = nullptr;
  cudaEvent_t gone_[kPieces] = {};
  size_t next_ = 0;
};

/** A stream of copies beside that of kernels. */
class Lane : public CopyLane {
 public:
  explicit Lane(cudaStream_t kernels) : kernels_(kernels) {
    cuda::check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, 0), "creating a stream of copies");
    for (auto* event : {&copied_, &computed_}) cuda::check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
  }
  ~Lane() override {
    for (auto event : {copied_, computed_}) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }
  void to_device(void* to, const void* from, size_t bytes) override {
    cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to the device");
  }
  void to_host(void* to, const void* from, size_t bytes) override {
    cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the device");
  }
  void wait_for_stream() override { order(computed_, kernels_, stream_); }
  void stream_waits() override { order(copied_, stream_, kernels_); }

 private:
  static void order(cudaEvent_t event, cudaStream_t first, cudaStream_t then) {
    cuda::check(cudaEventRecord(event, first), "recording an event");
    cuda::check(cudaStreamWaitEvent(then, event, 0), "waiting for an event");
  }
  cudaStream_t kernels_, stream_ = nullptr;
  cudaEvent_t copied_ = nullptr, computed_ = nullptr;
};

class Gpu : public Accelerator {
 public:
  explicit Gpu(const cudaDeviceProp& properties) {
    char memory[32];
    std::snprintf(memory, sizeof memory, "%.0f GB", static_cast<double>(properties.totalGlobalMem) / 1e9);
    description_ = std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
                   std::to_string(properties.minor) + ", " + memory;
  }
  ~Gpu() override { cudaStreamSynchronize(queue_.stream); }  // copies may be under way from memory that goes
  Backend backend() const override { return Backend::cuda; }
  const char* description() const override { return description_.c_str(); }
  const char* products() const override { return cuda::blas_found().words.c_str(); }
  DeviceQueue* queue() override { return &queue_; }

  void* allocate(size_t bytes) override {
    std::lock_guard lock(mutex_);
    if (graphs_.recording()) throw Error("INTERNAL", "memory was asked for while launches were recorded");
    void* data = nullptr;
    cuda::check(cudaMallocAsync(&data, bytes ? bytes : 1, queue_.stream), ("allocating " + std::to_string(bytes) + " bytes").c_str());
    return data;
  }
  void deallocate(void* data) noexcept override {
    std::lock_guard lock(mutex_);
    cudaFreeAsync(data, queue_.stream);
  }
  void* allocate_host(size_t bytes) override {
    std::lock_guard lock(mutex_);
    void* data = nullptr;
    cuda::check(cudaMallocHost(&data, bytes ? bytes : 1), ("allocating " + std::to_string(bytes) + " bytes of the host").c_str());
    return data;
  }
  void deallocate_host(void* data) noexcept override {
    std::lock_guard lock(mutex_);
    cudaFreeHost(data);
  }
  CopyLane& lane(size_t k) override {
    if (!lanes_[k]) lanes_[k] = std::make_unique<Lane>(queue_.stream);
    return *lanes_[k];
  }
  void upload(void* to, const void* from, size_t bytes) override {
    constexpr size_t kFew = size_t{64} << 10;  // the driver takes so much with it
    std::lock_guard lock(mutex_);
    if (bytes <= kFew) return move(to, from, bytes, cudaMemcpyHostToDevice, "copying to the device");
    if (!staging_) staging_ = std::make_unique<Staging>();
    staging_->send(static_cast<char*>(to), static_cast<const char*>(from), bytes, queue_.stream);
  }
  void copy(void* to, const void* from, size_t bytes) override { move(to, from, bytes, cudaMemcpyDeviceToDevice, "copying"); }
  void download(void* to, const void* from, size_t bytes) override {
    move(to, from, bytes, cudaMemcpyDeviceToHost, "copying from the device");
    cuda::check(cudaStreamSynchronize(queue_.stream), "waiting");
  }
  void clear(void* data, size_t bytes) override {
    if (bytes) cuda::check(cudaMemsetAsync(data, 0, bytes, queue_.stream), "clearing");
  }
  void repeat(const std::vector<size_t>& key, const std::function<void()>& launches) override {
    std::lock_guard lock(mutex_);
    graphs_.repeat(key, launches);
  }
  void finish(Stream& stream) override { cuda::wait(stream); }

 private:
  void move(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, const char* doing) {
    if (bytes) cuda::check(cudaMemcpyAsync(to, from, bytes, kind, queue_.stream), doing);
  }
  DeviceQueue queue_;
  cuda::Graphs graphs_{queue_};
  /** The stream, while launches are recorded: what another thread asks of it would become a part of them. */
  std::recursive_mutex mutex_;
  std::unique_ptr<Staging> staging_;  // since the first of much
  std::unique_ptr<Lane> lanes_[kLanes];  // since the first copy of one
  std::string description_;
};

/** Of a block, where attention is exact and heads are 128 wide; its other kernels take less, or are for devices that have more. */
constexpr size_t kSharedBytes = 165376;

Accelerator* open() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
    throw Error("BACKEND_UNAVAILABLE", "cuda: no driver of NVIDIA is installed");
  if (status != cudaSuccess || count == 0)
    throw Error("BACKEND_UNAVAILABLE", std::string("cuda: no device: ") + (status == cudaSuccess ? "none is visible" : cudaGetErrorString(status)));
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, 0), "asking for the device's properties");
  if (properties.sharedMemPerBlockOptin < kSharedBytes)
    throw Error("BACKEND_UNAVAILABLE", std::string("cuda: ") + properties.name + ", compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                           ": a block has " + std::to_string(properties.sharedMemPerBlockOptin) + " bytes of shared memory, and kernels of attention need " +
                                           std::to_string(kSharedBytes) + " (compute capabilities 8.0, 9.0 and 10.0 have them)");
  if (const auto& blas = cuda::blas_found(); blas.named && !blas.loaded)
    throw Error("BACKEND_UNAVAILABLE", "cuda: the library that G2RPO_CUBLASLT names: " + blas.words);
  return new Gpu(properties);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const AcceleratorLibrary g2rpo_library;
const AcceleratorLibrary g2rpo_library{G2RPO_SOURCES, kernels_begin(), kernels_end(), open};

}  // namespace g2rpo
