#include "device.h"

#include <cstring>

#include "../../core/arena.h"

namespace g2rpo {

Buffer::Buffer(DType dtype, size_t count)
    : data(allocate_counted(count * size_of(dtype))), bytes(count * size_of(dtype)), dtype(dtype) {}
Buffer::~Buffer() { deallocate_counted(data, bytes); }

CpuDevice::CpuDevice(int threads)
    : threads_(threads), pool_(std::make_unique<ThreadPool>(threads)), thread_([this] { work(); }) {}

CpuDevice::~CpuDevice() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void CpuDevice::enqueue(std::function<void(Stream&)> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void CpuDevice::set_threads(int threads) {
  threads_ = threads;
  enqueue([this, threads](Stream&) {
    if (pool_->threads() != threads) pool_ = std::make_unique<ThreadPool>(threads);
  });
}

void CpuDevice::work() {
  count_scratch(true);
  for (;;) {
    std::function<void(Stream&)> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    Stream stream{pool_.get()};
    job(stream);
  }
}

}  // namespace g2rpo
