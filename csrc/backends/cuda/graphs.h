// Launches that are done again and again, started as one: what a launch costs the host is then paid once.
#pragma once
#include <functional>
#include <vector>

#include "device.h"

namespace g2rpo::cuda {

/** Graphs by their keys. Of the thread that launches. */
class Graphs {
 public:
  explicit Graphs(DeviceQueue& queue) : queue_(queue) {}
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  /** Does what `launches` launches: as it is the first time, as a graph from the second on. Under a key it must launch the same each time. */
  void repeat(const std::vector<size_t>& key, const std::function<void()>& launches);
  /** Whether what is launched is being recorded. */
  bool recording() const { return recording_; }

 private:
  struct Kept {
    std::vector<size_t> key;
    cudaGraphExec_t graph = nullptr;
    bool refused = false;  // the driver made no graph of it: it is launched as it is
    // its kernels refuse by numbers that begin here
    size_t first_reason = 0;
    std::vector<DeviceQueue::Reason> reasons;
    uint64_t used = 0;
  };
  void record(Kept& kept, const std::function<void()>& launches);
  Kept& place_for(const std::vector<size_t>& key);

  DeviceQueue& queue_;
  std::vector<Kept> kept_;
  uint64_t clock_ = 0;
  bool recording_ = false;
};

}  // namespace g2rpo::cuda
