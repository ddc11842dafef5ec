#include "graphs.h"

#include <algorithm>

namespace g2rpo::cuda {

namespace {
constexpr size_t kMost = 64;  // graphs at a time; the one that was not used for longest makes room
}

Graphs::~Graphs() {
  for (auto& each : kept_)
    if (each.graph) cudaGraphExecDestroy(each.graph);
}

void Graphs::repeat(const std::vector<size_t>& key, const std::function<void()>& launches) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& each) { return each.key == key; });
  if (found == kept_.end()) {
    launches();  // what fails the first time is not kept: its memory and the library's plans may not be there yet
    place_for(key).used = ++clock_;
    return;
  }
  Kept& kept = *found;
  kept.used = ++clock_;
  if (!kept.graph && !kept.refused) record(kept, launches);
  if (kept.refused) return launches();
  if (kept.first_reason != queue_.reasons.size()) return launches();  // its refusals would be taken for those of others
  queue_.reasons.insert(queue_.reasons.end(), kept.reasons.begin(), kept.reasons.end());
  check(cudaGraphLaunch(kept.graph, queue_.stream), "starting a graph");
}

Graphs::Kept& Graphs::place_for(const std::vector<size_t>& key) {
  if (kept_.size() < kMost) return kept_.emplace_back(Kept{key});
  auto& oldest = *std::min_element(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) { return a.used < b.used; });
  if (oldest.graph) cudaGraphExecDestroy(oldest.graph);
  return oldest = Kept{key};
}

void Graphs::record(Kept& kept, const std::function<void()>& launches) {
  auto& reasons = queue_.reasons;
  kept.first_reason = reasons.size();
  cudaGraph_t graph = nullptr;
  // other threads may go on asking for memory and the like: what would become a part of the graph they leave until it is there
  check(cudaStreamBeginCapture(queue_.stream, cudaStreamCaptureModeRelaxed), "beginning a graph");
  recording_ = true;
  try {
    launches();
  } catch (...) {
    recording_ = false;
    if (cudaStreamEndCapture(queue_.stream, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
    reasons.resize(kept.first_reason);
    throw;
  }
  recording_ = false;
  kept.reasons.assign(reasons.begin() + static_cast<ptrdiff_t>(kept.first_reason), reasons.end());
  reasons.resize(kept.first_reason);
  auto status = cudaStreamEndCapture(queue_.stream, &graph);
  if (status == cudaSuccess) {
    status = cudaGraphInstantiate(&kept.graph, graph, 0);
    cudaGraphDestroy(graph);
  }
  if (status == cudaSuccess) return;
  kept.graph = nullptr, kept.refused = true;
  if (is_lost(status)) check(status, "making a graph");
}

}  // namespace g2rpo::cuda
