// A device beside the CPU, as the model and the binding use it: its memory, and what happens to it in the order of its stream. What implements it is
// a library of its own, loaded at run time, so that the addon needs no driver.
#pragma once
#include <functional>
#include <vector>

#include "kernel.h"
#include "stream.h"

namespace g2rpo {

/**
 * A line of copies between a device and memory of the host that its `allocate_host` gave: in their order, and beside the stream's kernels and other lanes
 * but for what the two waits say. Of the stream's own thread.
 */
class CopyLane {
 public:
  virtual ~CopyLane() = default;
  virtual void to_device(void* to, const void* from, size_t bytes) = 0;
  virtual void to_host(void* to, const void* from, size_t bytes) = 0;
  /** What is copied from here on waits for what the stream has been given so far. */
  virtual void wait_for_stream() = 0;
  /** What the stream is given from here on waits for what has been copied so far. */
  virtual void stream_waits() = 0;
};

/** One device with one stream. What its calls refuse is thrown: OUT_OF_MEMORY, or DEVICE_FAILED and DEVICE_LOST in the driver's words. */
class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual Backend backend() const = 0;
  /** e.g. "NVIDIA H200, compute capability 9.0, 141 GB" */
  virtual const char* description() const = 0;
  /** The library that multiplies matrices for it and where it lies, or why only its own kernels do; in words. */
  virtual const char* products() const = 0;
  virtual DeviceQueue* queue() = 0;
  /** Memory from the next launch on; 256-byte aligned. Like `deallocate` of any thread. */
  virtual void* allocate(size_t bytes) = 0;
  /** Once all that was launched before is done. Never throws. */
  virtual void deallocate(void* data) noexcept = 0;
  /** Memory of the host which lanes copy from and to without anybody waiting. Both of any thread. */
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void deallocate_host(void* data) noexcept = 0;
  /** One of kLanes. */
  static constexpr size_t kLanes = 2;
  virtual CopyLane& lane(size_t k) = 0;
  /** `from` may change when it returns. Of any thread. */
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  /** The values are there when it returns. */
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void clear(void* data, size_t bytes) = 0;
  /**
   * Does what `launches` launches. It may be recorded and started as one from then on: what is done under a key must launch the same, with the
   * same arguments, each time, and wait for nothing. Of the stream's own thread.
   */
  virtual void repeat(const std::vector<size_t>& key, const std::function<void()>& launches) = 0;
  /** Waits for all that was launched; what a kernel refused becomes the stream's failure. */
  virtual void finish(Stream& stream) = 0;
};

/** What such a library exports, as `g2rpo_library`. */
struct AcceleratorLibrary {
  /** of the sources that both sides share: they are compiled into both */
  const char* sources;
  const KernelEntry *begin, *end;
  /** The first device that is there. @throws BACKEND_UNAVAILABLE  saying why there is none */
  Accelerator* (*open)();
};

/** n values to another place of the stream's device. */
template <class T> void copy(Stream& stream, T* to, const T* from, size_t n) {
  if (n == 0) return;
  if (stream.accelerator) stream.accelerator->copy(to, from, n * sizeof(T));
  else __builtin_memcpy(to, from, n * sizeof(T));
}
/** n values become 0. */
template <class T> void clear(Stream& stream, T* data, size_t n) {
  if (n == 0) return;
  if (stream.accelerator) stream.accelerator->clear(data, n * sizeof(T));
  else __builtin_memset(static_cast<void*>(data), 0, n * sizeof(T));
}
/** n values of the stream's device to the host; they are there when it returns. */
template <class T> void download(Stream& stream, T* to, const T* from, size_t n) {
  if (n == 0) return;
  if (stream.accelerator) stream.accelerator->download(to, from, n * sizeof(T));
  else __builtin_memcpy(to, from, n * sizeof(T));
}
/** See Accelerator::repeat; `key()` is asked for where it is wanted. Kernels that are timed are launched one by one. */
template <class K, class F> void repeat(Stream& stream, K&& key, F&& launches) {
  if (stream.accelerator && !profiling()) stream.accelerator->repeat(key(), launches);
  else launches();
}
/** What was launched is done, and has failed if the stream says so. */
inline void finish(Stream& stream) {
  if (stream.accelerator) stream.accelerator->finish(stream);
}

}  // namespace g2rpo
