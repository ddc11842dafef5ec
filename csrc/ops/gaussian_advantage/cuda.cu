// Nothing is read back: the first kernel ranks the smallest segments and files the longer ones by size, others go through these lists. Only where
// a segment may be longer than a block can hold is the longest one asked for.
#include "blocks.cuh"
#include "op.h"
#include "sorted.cuh"

namespace g2rpo {

namespace {

constexpr size_t kBlocks = 1056;  // of the kernels that go through lists: some to every multiprocessor

/** Segments by size, as the first kernel files them. */
struct Lists {
  int32_t *count, *few, *some, *many;  // count[4]: of the lists, and the size of the longest segment
};

struct Task {
  const double* x;
  const int32_t* starts;
  size_t segments, rewards;
  double tolerance;
  SmallSums sums;
  double* out;
  Refusal rising, nan;
  size_t longest;
};

/** Rewards [begin, begin + n); false where the starts are wrong. */
__device__ bool segment_at(const Task& t, size_t s, size_t& begin, size_t& n) {
  const int32_t first = t.starts[s], last = t.starts[s + 1];
  if (first < 0 || last < first || static_cast<size_t>(last) > t.rewards || (s == 0 && first != 0) ||
      (s + 1 == t.segments && static_cast<size_t>(last) != t.rewards))
    return false;
  begin = static_cast<size_t>(first), n = static_cast<size_t>(last - first);
  return true;
}

/** Segments of up to G by as many lanes each; the others into lists, if there can be any. */
template <int G> __global__ void rank_smallest(Task t, Lists lists) {
  const size_t s = cuda::global_index() / G;
  const int lane = static_cast<int>(threadIdx.x % G), group = static_cast<int>(threadIdx.x % 32) / G;
  size_t begin = 0, n = 0;
  if (s < t.segments && !segment_at(t, s, begin, n)) {
    if (lane == 0) t.rising.at(s);
    n = 0;
  }
  if (n > t.longest) {  // longer than the caller knows
    if (lane == 0) t.rising.at(s);
    n = 0;
  }
  if (n > G && lane == 0) {
    const bool few = n <= kLanes, some = n <= kShort;
    int32_t* list = few ? lists.few : some ? lists.some : lists.many;
    if (n <= kLong) list[atomicAdd(lists.count + (few ? 0 : some ? 1 : 2), 1)] = static_cast<int32_t>(s);
    atomicMax(lists.count + 3, static_cast<int32_t>(n));
  }
  rank_by_lanes<G>(t.x, begin, n <= G ? n : 0, lane, group, t.tolerance, t.sums, t.out, t.nan);
}

/** Segments of up to kWarp by a warp each, then those of up to kShort by a block. */
__global__ void __launch_bounds__(256) rank_short(Task t, Lists lists) {
  __shared__ BlockMemory<256, kShort> memory;
  const auto few = static_cast<size_t>(lists.count[0]), some = static_cast<size_t>(lists.count[1]);
  for (size_t i = cuda::global_index() / 32; i < few; i += kBlocks * 8) {
    size_t begin = 0, n = 0;
    segment_at(t, static_cast<size_t>(lists.few[i]), begin, n);
    rank_by_lanes<32>(t.x, begin, n, static_cast<int>(threadIdx.x % 32), 0, t.tolerance, t.sums, t.out, t.nan);
  }
  const bool counted = !(t.tolerance > 0);  // near rewards are found in order
  for (size_t i = cuda::global_index() / 32; counted && i < some; i += kBlocks * 8) {
    size_t begin = 0, n = 0;
    segment_at(t, static_cast<size_t>(lists.some[i]), begin, n);
    if (n <= kWarp / 2) rank_by_warp<kWarp / 64>(t.x, begin, n, t.sums, t.out, t.nan);
    else if (n <= kWarp) rank_by_warp<kWarp / 32>(t.x, begin, n, t.sums, t.out, t.nan);
  }
  for (size_t i = blockIdx.x; i < some; i += kBlocks) {
    size_t begin = 0, n = 0;
    segment_at(t, static_cast<size_t>(lists.some[i]), begin, n);
    if (counted && n <= kWarp) continue;
    memory.sort(t.x + begin, n, [&](size_t at) { t.nan.at(begin + at); });
    memory.give(t.sums.of(n), n, t.tolerance, t.out + begin);
  }
}

/** Segments of up to kLong by a block, which computes the sums of their quantiles itself. */
__global__ void __launch_bounds__(1024) rank_long(Task t, Lists lists) {
  auto& memory = *reinterpret_cast<BlockMemory<1024, kLong>*>(cuda::dynamic_shared);
  auto* sums = reinterpret_cast<double*>(&memory + 1);  // [kLong / 2 + 1]
  const auto many = static_cast<size_t>(lists.count[2]);
  for (size_t i = blockIdx.x; i < many; i += kBlocks) {
    size_t begin = 0, n = 0;
    segment_at(t, static_cast<size_t>(lists.many[i]), begin, n);
    memory.sort(t.x + begin, n, [&](size_t at) { t.nan.at(begin + at); });
    memory.add_quantiles(n, sums);
    memory.give(Sums{sums, nullptr, n}, n, t.tolerance, t.out + begin);
  }
}

/** Segments that no block can hold, by sorting them in the device's memory. Their bounds are read back. */
void rank_longest(Stream& stream, const GaussianAdvantage& op, KeptSums& sums, Refusal nan) {
  std::vector<int32_t> starts(op.segmentStarts.size);
  cuda::check(cudaMemcpyAsync(starts.data(), op.segmentStarts.data, starts.size() * sizeof(int32_t), cudaMemcpyDeviceToHost, stream.queue->stream),
              "reading segmentStarts");
  cuda::check(cudaStreamSynchronize(stream.queue->stream), "reading segmentStarts");
  std::vector<Sorted> sorted;
  std::vector<std::shared_ptr<double>> held;
  size_t at = 0;
  for (size_t s = 0; s + 1 < starts.size(); s++) {
    const auto begin = static_cast<size_t>(starts[s]), end = static_cast<size_t>(starts[s + 1]);
    if (starts[s] < 0 || starts[s + 1] < starts[s] || end > op.rewards.size) return;  // has been refused
    if (end - begin <= kLong) continue;
    sorted.push_back({begin, end, at, sums.of(stream, end - begin, held.emplace_back())});
    at += end - begin;
  }
  if (!sorted.empty()) by_sorting(stream, op, sorted, nan);
}

}  // namespace

KERNEL(cuda, GaussianAdvantage) {
  if (!(op.tieTolerance >= 0))
    return fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: tieTolerance must be at least 0");
  static KeptSums sums;
  const auto rising = cuda::refusal(stream, "INVALID_ARGUMENT", "gaussian_advantage: segmentStarts must rise from 0 to the number of rewards");
  const auto nan = cuda::refusal(stream, "NON_FINITE", "gaussian_advantage: rewards holds NaN, which has no rank");
  const size_t segments = op.segmentStarts.size - 1, rewards = op.rewards.size;
  if (segments == 0) {
    if (rewards > 0) fail(stream, "INVALID_ARGUMENT", "gaussian_advantage: segmentStarts must rise from 0 to the number of rewards");
    return;
  }
  const size_t longest = op.longest ? op.longest : rewards;
  const Task task{op.rewards.data, op.segmentStarts.data, segments, rewards, op.tieTolerance, sums.small(stream), op.advantages.data, rising, nan, longest};
  const auto smallest = [&]<int G>(const Lists& lists) {
    cuda::launch(stream, rank_smallest<G>, cuda::blocks_for(G * segments), cuda::kThreads, task, lists);
  };
  if (longest <= 8) return smallest.template operator()<8>({});
  if (longest <= 16) return smallest.template operator()<16>({});
  if (longest <= 32) return smallest.template operator()<32>({});
  // where starts fall, any number of segments may seem long
  cuda::Temporary<int32_t> memory(stream, 4 + 3 * segments);
  cuda::check(cudaMemsetAsync(memory.get(), 0, 4 * sizeof(int32_t), stream.queue->stream), "clearing");
  int32_t* list = memory.get() + 4;
  const Lists lists{memory.get(), list, list + segments, list + 2 * segments};
  smallest.template operator()<8>(lists);
  cuda::launch(stream, rank_short, static_cast<unsigned>(kBlocks), 256u, task, lists);
  if (longest > kShort)
    cuda::launch_shared(stream, rank_long, static_cast<unsigned>(kBlocks), 1024u, sizeof(BlockMemory<1024, kLong>) + (kLong / 2 + 1) * sizeof(double), task, lists);
  if (longest <= kLong) return;
  int32_t found = static_cast<int32_t>(op.longest);
  if (!op.longest) {
    cuda::check(cudaMemcpyAsync(&found, lists.count + 3, sizeof found, cudaMemcpyDeviceToHost, stream.queue->stream), "reading the longest segment");
    cuda::check(cudaStreamSynchronize(stream.queue->stream), "reading the longest segment");
  }
  if (static_cast<size_t>(found) > kLong) rank_longest(stream, op, sums, nan);
}

}  // namespace g2rpo
