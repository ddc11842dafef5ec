#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "status.h"

namespace g2rpo {

/** Cores this process may use: its affinity mask, limited by a cgroup's cpu quota. */
int available_cores();

/** How a kernel failed: `code` is null if it did not. */
struct Failure {
  const char* code = nullptr;
  std::string message;
};

/**
 * A pool for one caller at a time. The caller takes part; items are handed out one by one, so a worker that the system
 * has put aside delays its item only. Between jobs workers stay awake for a while, since waking one takes longer than most jobs of a small policy;
 * where others want the cores they sleep soon.
 */
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  /** Exceptions of a body are recorded as failures. A loop inside an item is run by the thread that has the item. */
  void run(size_t n, void (*body)(void*, size_t), void* context);
  /** Records a failure; the first one since the last `take_failure` wins. Safe from any thread. */
  void fail(const char* code, const char* message);
  bool failed();
  Failure take_failure();

 private:
  using Clock = std::chrono::steady_clock;
  void work();
  /** Returns when there is a job, or when it has been long enough for sleeping to be cheaper. `crowded`: until when others seem to want this core. */
  void wait_awake(uint64_t seen, Clock::time_point& crowded) const;
  void call(void (*body)(void*, size_t), void* context, size_t i);
  void take_items(void (*body)(void*, size_t), void* context, size_t n, uint64_t epoch);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> epoch_{0};  // number of jobs begun
  std::atomic<bool> stop_{false};
  // the job: written by the caller before the epoch is published, and only while no worker is inside
  // (a late worker may read them meanwhile, but then its epoch is over and it gets no item: hence atomics)
  std::atomic<void (*)(void*, size_t)> body_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<size_t> n_{0};
  std::atomic<uint64_t> next_{0};   // epoch (high 24 bits) and next item (low 40 bits)
  std::atomic<size_t> done_{0};
  std::atomic<int> inside_{0};
  std::atomic<int> sleeping_{0};
  std::mutex failure_mutex_;
  Failure failure_;
};

}  // namespace g2rpo
