#include <cmath>

#include "../../backends/cuda/indices.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr unsigned kRows = cuda::kThreads / 32;  // of a block, a warp each

/** An expert and its logit; NaN counts as −∞, so that as many are chosen as are wanted whatever comes. */
template <class T> struct Candidate {
  T logit;
  int32_t expert;
  /** Of equals the lower one is before the other. */
  __device__ bool before(const Candidate& other) const { return logit > other.logit || (logit == other.logit && expert < other.expert); }
};
template <class T> __device__ Candidate<T> candidate(const T* z, size_t e) {
  return {z[e] == z[e] ? z[e] : -T(INFINITY), static_cast<int32_t>(e)};
}

/** The first of all lanes' candidates, in every lane. */
template <class T> __device__ Candidate<T> first_of_warp(Candidate<T> own) {
  for (int by = 16; by > 0; by /= 2) {
    const Candidate<T> other{__shfl_xor_sync(~0u, own.logit, by), __shfl_xor_sync(~0u, own.expert, by)};
    if (other.before(own)) own = other;
  }
  return own;
}

/** Σ exp(z − top) over a row. */
template <class T> __device__ T exponentials(const T* z, size_t n, T top) {
  T sum = 0;
  for (size_t e = threadIdx.x % 32; e < n; e += 32) sum += exp(z[e] - top);
  return cuda::warp_sum(sum);
}

/** A warp to a row: the first expert behind the last one chosen, as often as there are to be chosen. */
template <class T> __global__ void choose(const T* logits, size_t rows, size_t experts, size_t active, bool normalise, int32_t* chosen, T* weights) {
  const size_t r = static_cast<size_t>(blockIdx.x) * kRows + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= rows) return;
  const T* z = logits + r * experts;
  const Candidate<T> nothing{-T(INFINITY), INT32_MAX};
  Candidate<T> last{T(INFINITY), -1};
  T top = 0, among = 0;
  for (size_t a = 0; a < active; a++) {
    Candidate<T> best = nothing;
    for (size_t e = lane; e < experts; e += 32) {
      const auto c = candidate(z, e);
      if (last.before(c) && c.before(best)) best = c;
    }
    last = first_of_warp(best);
    const T logit = z[last.expert];
    if (a == 0) top = logit;
    const T weight = exp(logit - top);
    among += weight;
    if (lane == 0) chosen[r * active + a] = last.expert, weights[r * active + a] = weight;
  }
  const T total = normalise ? among : exponentials(z, experts, top);
  __syncwarp();
  for (size_t a = lane; a < active; a += 32) weights[r * active + a] /= total;
}

template <class T> struct Gradients {
  const T *dWeights, *logits;
  cuda::RowIndices chosen;
  const T* weights;
  size_t rows, experts, active;
  bool normalise;
  T* dLogits;
};

template <class T> __global__ void backward(Gradients<T> g) {
  const size_t r = static_cast<size_t>(blockIdx.x) * kRows + threadIdx.x / 32, lane = threadIdx.x % 32, at = r * g.active;
  if (r >= g.rows) return;
  const T* z = g.logits + r * g.experts;
  T* d = g.dLogits + r * g.experts;
  T mean = 0;
  for (size_t a = lane; a < g.active; a += 32) mean = fma(g.weights[at + a], g.dWeights[at + a], mean);
  mean = cuda::warp_sum(mean);
  if (g.normalise) {
    for (size_t e = lane; e < g.experts; e += 32) d[e] = 0;
  } else {
    T top = -T(INFINITY);
    for (size_t e = lane; e < g.experts; e += 32) top = z[e] > top ? z[e] : top;
    top = cuda::warp_max(top);
    const T scale = -mean / exponentials(z, g.experts, top);
    for (size_t e = lane; e < g.experts; e += 32) d[e] = exp(z[e] - top) * scale;
  }
  __syncwarp();  // zeros before what is written over them
  for (size_t a = lane; a < g.active; a += 32) {
    size_t expert;
    if (g.chosen.find(at + a, expert)) d[expert] = g.weights[at + a] * (g.dWeights[at + a] - mean);
  }
}

/** starts[e] is the first place whose key is at least e. */
__global__ void find_starts(const int32_t* keys, size_t count, size_t experts, int32_t* starts) {
  const size_t e = cuda::global_index();
  if (e > experts) return;
  size_t low = 0, high = count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (static_cast<size_t>(keys[middle]) < e) low = middle + 1;
    else high = middle;
  }
  starts[e] = static_cast<int32_t>(low);
}

__global__ void list_pairs(const int32_t* sorted, size_t count, size_t active, int32_t* order, int32_t* rows) {
  const size_t p = cuda::global_index();
  if (p >= count) return;
  order[p] = sorted[p];
  rows[p] = static_cast<int32_t>(static_cast<size_t>(sorted[p]) / active);
}

}  // namespace

KERNEL_REAL(cuda, Router) {
  const size_t rows = op.logits.dim[0], experts = op.logits.dim[1], active = op.chosen.dim[1];
  if (active < 1 || active > experts)
    return fail(stream, "INVALID_ARGUMENT", "router: the number of experts of a row must be in [1, E]");
  if (rows == 0) return;
  cuda::launch(stream, choose<T>, cuda::blocks_for(rows, kRows), cuda::kThreads, op.logits.data, rows, experts, active, op.normalise,
               op.chosen.data, op.weights.data);
}

KERNEL_REAL(cuda, RouterBackward) {
  const size_t rows = op.logits.dim[0], experts = op.logits.dim[1], active = op.chosen.dim[1];
  const cuda::RowIndices chosen{op.chosen.data, cuda::index_range(stream, op.kName, "chosen", experts)};
  if (rows == 0) return;
  const Gradients<T> g{op.dWeights.data, op.logits.data, chosen, op.weights.data, rows, experts, active, op.normalise, op.dLogits.data};
  cuda::launch(stream, backward<T>, cuda::blocks_for(rows, kRows), cuda::kThreads, g);
}

KERNEL(cuda, ExpertGroups) {
  const size_t pairs = op.chosen.size, active = op.chosen.dim[1], experts = op.starts.size - 1;
  const cuda::RowIndices chosen{op.chosen.data, cuda::index_range(stream, op.kName, "chosen", experts)};
  cuda::Temporary<int32_t> keys(stream, pairs);
  cuda::SortedKeys sorted(stream, pairs);
  if (pairs > 0) {
    cuda::find_targets(stream, chosen, {}, pairs, keys.get());
    sorted.sort(stream, keys.get(), experts + 1);
    cuda::launch(stream, list_pairs, cuda::blocks_for(pairs), cuda::kThreads, sorted.order.get(), pairs, active, op.order.data, op.rows.data);
  }
  cuda::launch(stream, find_starts, cuda::blocks_for(experts + 1), cuda::kThreads, sorted.keys.get(), pairs, experts, op.starts.data);
}

}  // namespace g2rpo
