// What jobs are enqueued on: one thread that runs them in order, with the CPU's pool beside it or an accelerator behind it.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "accelerator.h"
#include "status.h"
#include "thread_pool.h"

namespace g2rpo {

/** Where a tensor's memory is: on the device that computes, or, beside an accelerator, in the host's memory, where only an update of moments finds it. */
enum class Place { device, host };

/** Memory of a tensor. `failure` is set by a kernel that could not fill it, and passes on to what is computed from it. */
struct Buffer {
  /** On the accelerator unless it is null, or in memory of the host that is of use to it; that does not count. */
  Buffer(DType dtype, size_t count, std::shared_ptr<Accelerator> accelerator, Place place = Place::device);
  ~Buffer();
  /** Takes as many bytes as it has from the host's memory, which may change at once. Of any thread, before it is used. */
  void fill(const void* from);
  /** Its values, to the host's memory. Of the device's thread. */
  void read(Stream& stream, void* to) const;
  void clear(Stream& stream);
  bool on_host() const { return host_; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::shared_ptr<Accelerator> accelerator;
  void* data;
  size_t bytes;
  DType dtype;
  std::shared_ptr<const Failure> failure;
  /** how often it has been written since it is there; known on the device's thread */
  uint64_t writes = 0;

 private:
  bool host_;  // beside an accelerator
};
using BufferRef = std::shared_ptr<Buffer>;

class Device {
 public:
  /** The CPU with so many threads, or an accelerator. */
  Device(int threads, std::shared_ptr<Accelerator> accelerator);
  /** Lets the running job finish, drops what waits behind it, ends the thread. */
  ~Device();
  /** Runs job(stream) after everything enqueued before; the job must not throw. */
  void enqueue(std::function<void(Stream&)> job);
  /**
   * Runs job(stream) here and at once, if nothing that was enqueued before is left and there is no accelerator to wait for; else returns false. Worth it
   * where a job is over sooner than another thread is awake.
   */
  template <class Job> bool run_here(Job&& job) {
    if (!begin_here()) return false;
    {
      const Turn turn(*this);
      Stream stream = turn.stream();
      job(stream);
    }
    return true;
  }
  /** Takes effect for what is enqueued from now on. */
  void set_threads(int threads);
  int threads() const { return threads_; }
  /** null: it is the CPU */
  const std::shared_ptr<Accelerator>& accelerator() const { return accelerator_; }

 private:
  /** A job of this thread, while no other thread has one: its scratch is that of the device, whoever runs it. */
  class Turn {
   public:
    explicit Turn(Device& device);
    ~Turn();
    Stream stream() const;

   private:
    Device& device_;
    ScratchArena* before_;
  };
  bool begin_here();
  void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void(Stream&)>> jobs_;
  bool stop_ = false;
  bool busy_ = false;  // a job is running
  int threads_;
  std::shared_ptr<Accelerator> accelerator_;
  std::unique_ptr<ThreadPool> pool_;
  using ScratchRef = std::unique_ptr<ScratchArena, void (*)(ScratchArena*)>;
  ScratchRef scratch_;  // of the thread that runs a job
  ScratchRef accelerator_scratch_;
  std::thread thread_;
};

/** Waits for what was launched before a failure. Returns that the device is lost, if that is what comes of it: of that the failure may have known nothing. */
Failure abandon(Stream& stream);

/** Runs f, waits for what it launched, and returns how it failed, or null: by `fail` or by an exception. */
template <class F> std::shared_ptr<const Failure> guarded(Stream& stream, F&& f) {
  stream.pool->take_failure();
  Failure failure;
  try {
    f();
    finish(stream);
    failure = stream.pool->take_failure();
  } catch (const Error& e) {
    failure = {e.code, e.what()};
  } catch (const std::bad_alloc&) {
    failure = {"OUT_OF_MEMORY", "an allocation was refused"};
  } catch (const std::exception& e) {
    failure = {"INTERNAL", e.what()};
  }
  if (!failure.code) return nullptr;
  if (Failure lost = abandon(stream); lost.code) failure = std::move(lost);
  return std::make_shared<const Failure>(std::move(failure));
}

}  // namespace g2rpo
