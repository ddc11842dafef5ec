#include "thread_pool.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#if defined(__linux__)
#include <sched.h>
#endif

#include "arena.h"
#include "stream.h"

namespace g2rpo {

namespace {
constexpr uint64_t kItemBits = 40;
constexpr uint64_t kItemMask = (uint64_t{1} << kItemBits) - 1;

constexpr int kPauses = 16;                             // between looks at the clock: about a microsecond
constexpr std::chrono::microseconds kAwake{200};        // longer than what an update or a step of decoding does between two jobs
constexpr std::chrono::microseconds kAwakeInCrowd{20};  // where others want the core, and before it is offered to them
constexpr std::chrono::microseconds kPutAside{100};     // a thread that misses so much has been put aside for another …
constexpr std::chrono::milliseconds kCrowd{20};         // … and takes it that there will be more of them for so long

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
}  // namespace

void ThreadPool::fail(const char* code, const char* message) {
  std::lock_guard lock(failure_mutex_);
  if (!failure_.code) failure_ = {code, message};
}

bool ThreadPool::failed() {
  std::lock_guard lock(failure_mutex_);
  return failure_.code != nullptr;
}

Failure ThreadPool::take_failure() {
  std::lock_guard lock(failure_mutex_);
  return std::exchange(failure_, {});
}

bool Stream::failed() const { return pool->failed(); }

/** This thread is inside an item of a loop on all threads: loops in it are its own. */
thread_local bool inside_item = false;

int threads_of(const Stream& stream) { return inside_item ? 1 : stream.pool->threads(); }

void fail(Stream& stream, const char* code, const char* message) { stream.pool->fail(code, message); }

int available_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  if (FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long long quota = 0, period = 0;
    if (std::fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      const int limit = static_cast<int>((quota + period - 1) / period);
      if (limit < cores) cores = limit;
    }
    std::fclose(f);
  }
#endif
  return cores > 0 ? cores : 1;
}

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; i++) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& w : workers_) w.join();
}

void ThreadPool::call(void (*body)(void*, size_t), void* context, size_t i) {
  try {
    body(context, i);
  } catch (const Error& e) {
    fail(e.code, e.what());
  } catch (const std::bad_alloc&) {
    fail("OUT_OF_MEMORY", "an allocation was refused");
  } catch (const std::exception& e) {
    fail("INTERNAL", e.what());
  }
}

void ThreadPool::take_items(void (*body)(void*, size_t), void* context, size_t n, uint64_t epoch) {
  const uint64_t tag = (epoch << kItemBits);
  for (;;) {
    uint64_t at = next_.load(std::memory_order_relaxed);
    do {
      if ((at & ~kItemMask) != tag || (at & kItemMask) >= n) return;
    } while (!next_.compare_exchange_weak(at, at + 1, std::memory_order_acq_rel));
    inside_item = true;
    call(body, context, at & kItemMask);
    inside_item = false;
    done_.fetch_add(1, std::memory_order_acq_rel);
  }
}

void ThreadPool::wait_awake(uint64_t seen, Clock::time_point& crowded) const {
  const auto begin = Clock::now();
  for (auto last = begin; epoch_.load(std::memory_order_acquire) == seen && !stop_;) {
    for (int i = 0; i < kPauses && epoch_.load(std::memory_order_relaxed) == seen; i++) pause_cpu();
    const auto now = Clock::now();
    if (now - last > kPutAside) crowded = now + kCrowd;
    if (now - begin > (now < crowded ? kAwakeInCrowd : kAwake)) return;
    if (now - begin > kAwakeInCrowd) std::this_thread::yield();
    last = now;
  }
}

void ThreadPool::work() {
  uint64_t seen = 0;
  auto crowded = Clock::now();
  for (;;) {
    wait_awake(seen, crowded);
    if (epoch_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_++;
      wake_.wait(lock, [&] { return stop_ || epoch_.load(std::memory_order_acquire) != seen; });
      sleeping_--;
    }
    if (stop_) return;
    // enter only while this epoch is the current one: the caller waits for everybody inside before it begins another
    inside_.fetch_add(1, std::memory_order_seq_cst);
    seen = epoch_.load(std::memory_order_seq_cst);
    take_items(body_, context_, n_, seen);
    inside_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

void ThreadPool::run(size_t n, void (*body)(void*, size_t), void* context) {
  if (n == 0) return;
  // which items the caller takes is chance
  struct Uncounted {
    bool before = count_scratch(false);
    ~Uncounted() { count_scratch(before); }
  } uncounted;
  if (workers_.empty() || n == 1 || inside_item) {
    for (size_t i = 0; i < n; i++) call(body, context, i);
    return;
  }
  // a worker may have entered late and found nothing to do: wait until it has left before the job is rewritten
  while (inside_.load(std::memory_order_seq_cst) != 0) pause_cpu();
  const uint64_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  next_.store(~uint64_t{0}, std::memory_order_seq_cst);  // closed: nobody takes an item while the job is written
  while (inside_.load(std::memory_order_seq_cst) != 0) pause_cpu();
  body_ = body;
  context_ = context;
  n_ = n;
  done_.store(0, std::memory_order_relaxed);
  next_.store(epoch << kItemBits, std::memory_order_seq_cst);
  epoch_.store(epoch, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  take_items(body, context, n, epoch);
  int spins = 0;
  while (done_.load(std::memory_order_acquire) != n) {
    pause_cpu();
    if (++spins > 2000) std::this_thread::yield();
  }
}

void parallel_for_raw(Stream& stream, size_t n, void (*body)(void*, size_t), void* context) {
  stream.pool->run(n, body, context);
}

}  // namespace g2rpo
