// The CPU as a device: one thread that runs what is enqueued, in order, with a pool beside it.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "../../core/status.h"
#include "../../core/stream.h"
#include "../../core/thread_pool.h"

namespace g2rpo {

/** Memory of a tensor. `failure` is set by a kernel that could not fill it, and passes on to what is computed from it. */
struct Buffer {
  Buffer(DType dtype, size_t count);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data;
  size_t bytes;
  DType dtype;
  std::shared_ptr<const Failure> failure;
  /** how often it has been written since it is there; known on the device's thread */
  uint64_t writes = 0;
};
using BufferRef = std::shared_ptr<Buffer>;

class CpuDevice {
 public:
  explicit CpuDevice(int threads);
  /** Lets the running job finish, drops what waits behind it, ends the thread. */
  ~CpuDevice();
  /** Runs job(stream) after everything enqueued before; the job must not throw. */
  void enqueue(std::function<void(Stream&)> job);
  /** Takes effect for what is enqueued from now on. */
  void set_threads(int threads);
  int threads() const { return threads_; }

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void(Stream&)>> jobs_;
  bool stop_ = false;
  int threads_;
  std::unique_ptr<ThreadPool> pool_;
  std::thread thread_;
};

/** Runs f and returns how it failed, or null: by `fail` or by an exception. */
template <class F> std::shared_ptr<const Failure> guarded(Stream& stream, F&& f) {
  stream.pool->take_failure();
  Failure failure;
  try {
    f();
    failure = stream.pool->take_failure();
  } catch (const Error& e) {
    failure = {e.code, e.what()};
  } catch (const std::bad_alloc&) {
    failure = {"OUT_OF_MEMORY", "an allocation was refused"};
  } catch (const std::exception& e) {
    failure = {"INTERNAL", e.what()};
  }
  return failure.code ? std::make_shared<const Failure>(std::move(failure)) : nullptr;
}

}  // namespace g2rpo
