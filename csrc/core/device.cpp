#include "device.h"

#include <cstring>

#include "arena.h"

namespace g2rpo {

Buffer::Buffer(DType dtype, size_t count, std::shared_ptr<Accelerator> on, Place place)
    : accelerator(std::move(on)), bytes(count * size_of(dtype)), dtype(dtype), host_(accelerator && place == Place::host) {
  data = host_ ? accelerator->allocate_host(bytes) : allocate_counted(bytes, accelerator.get());
}
Buffer::~Buffer() {
  if (host_) accelerator->deallocate_host(data);
  else deallocate_counted(data, bytes, accelerator.get());
}

void Buffer::fill(const void* from) {
  if (bytes == 0) return;
  if (accelerator && !host_) accelerator->upload(data, from, bytes);
  else std::memcpy(data, from, bytes);
}

void Buffer::read(Stream& stream, void* to) const {
  if (host_) std::memcpy(to, data, bytes);
  else download(stream, static_cast<char*>(to), static_cast<const char*>(data), bytes);
}

void Buffer::clear(Stream& stream) {
  if (host_) std::memset(data, 0, bytes);
  else g2rpo::clear(stream, static_cast<char*>(data), bytes);
}

Device::Device(int threads, std::shared_ptr<Accelerator> accelerator)
    : threads_(accelerator ? 1 : threads),
      accelerator_(std::move(accelerator)),
      pool_(std::make_unique<ThreadPool>(threads_)),
      scratch_(open_scratch(nullptr), close_scratch),
      accelerator_scratch_(accelerator_ ? open_scratch(accelerator_.get()) : nullptr, close_scratch),
      thread_([this] { work(); }) {}

Device::~Device() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Device::enqueue(std::function<void(Stream&)> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

Device::Turn::Turn(Device& device) : device_(device), before_(lend_scratch(device.scratch_.get())) {}

Device::Turn::~Turn() {
  lend_scratch(before_);
  std::lock_guard lock(device_.mutex_);
  device_.busy_ = false;
  if (!device_.jobs_.empty()) device_.wake_.notify_one();
}

Stream Device::Turn::stream() const {
  const auto& accelerator = device_.accelerator_;
  return {device_.pool_.get(), accelerator ? accelerator->queue() : nullptr, accelerator.get(), device_.accelerator_scratch_.get()};
}

bool Device::begin_here() {
  if (accelerator_) return false;
  std::lock_guard lock(mutex_);
  if (busy_ || !jobs_.empty()) return false;
  return busy_ = true;
}

void Device::set_threads(int threads) {
  if (accelerator_) return;  // its kernels have no use for them
  threads_ = threads;
  enqueue([this, threads](Stream&) {
    if (pool_->threads() != threads) pool_ = std::make_unique<ThreadPool>(threads);
  });
}

Failure abandon(Stream& stream) {
  Failure lost;
  try {
    finish(stream);
  } catch (const Error& e) {
    lost = {e.code, e.what()};
  }
  stream.pool->take_failure();
  return lost;
}

void Device::work() {
  for (;;) {
    std::function<void(Stream&)> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || (!jobs_.empty() && !busy_); });
      if (stop_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_ = true;
    }
    const Turn turn(*this);
    Stream stream = turn.stream();
    job(stream);
    job = nullptr;  // drops what it holds before the turn ends
  }
}

}  // namespace g2rpo
