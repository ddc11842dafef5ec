// Grids of patches in the device's memory: where each begins, and whether they fit.
#pragma once
#include "../../core/grids.h"
#include "device.h"

namespace g2rpo::cuda {

/** Grids (t, h, w), and the first patch of each: [count + 1], all ones at `count` where a grid does not fit. */
struct Grids {
  const int32_t* grids;
  size_t count;
  int32_t merge;
  size_t* first;

  /** Where patch p is: of which grid, in which frame, row and column. All grids fit. */
  struct Place {
    size_t grid, frame;
    int32_t row, column, h, w;
  };
  __device__ Place place(size_t p) const {
    const size_t k = group_of(first, count, p);
    const int32_t h = grids[3 * k + 1], w = grids[3 * k + 2], m = merge;
    const size_t size = static_cast<size_t>(h) * static_cast<size_t>(w), frame = (p - first[k]) / size;
    const auto i = static_cast<int32_t>(p - first[k] - frame * size);
    const int32_t block = i / (m * m), inside = i % (m * m), wide = w / m;
    return {k, frame, block / wide * m + inside / m, block % wide * m + inside % m, h, w};
  }
  __device__ bool fit(size_t patches) const { return first[count] == patches; }
};

/** How grids are refused that have bad sides, hold too many patches, or too few. */
struct GridRefusals {
  Refusal sides, too_many, too_few;
};

constexpr size_t kGridsTogether = 256;  // grids of which a block loads the sides at a time

/** One block; its first thread adds up. */
static __global__ void place_grids(Grids g, size_t patches, GridRefusals refusals) {
  __shared__ int32_t sides[kGridsTogether * 3];
  __shared__ bool holds;
  size_t at = 0;
  if (threadIdx.x == 0) holds = true;
  for (size_t begin = 0; begin < g.count; begin += kGridsTogether) {
    const size_t n = g.count - begin < kGridsTogether ? g.count - begin : kGridsTogether;
    __syncthreads();
    for (size_t i = threadIdx.x; i < 3 * n; i += blockDim.x) sides[i] = g.grids[3 * begin + i];
    __syncthreads();
    if (threadIdx.x == 0)
      for (size_t i = 0; i < n && holds; i++) {
        const int32_t t = sides[3 * i], h = sides[3 * i + 1], w = sides[3 * i + 2];
        const size_t frame = static_cast<size_t>(h) * static_cast<size_t>(w), left = patches - at;
        holds = false;
        if (t < 1 || h < 1 || w < 1 || h % g.merge || w % g.merge) refusals.sides.at(begin + i, t, h, w);
        else if (frame > left || static_cast<size_t>(t) > left / frame) refusals.too_many.at(begin + i, t, h, w);
        else holds = true, g.first[begin + i] = at, at += frame * static_cast<size_t>(t);
      }
  }
  if (threadIdx.x != 0) return;
  if (holds && at < patches) refusals.too_few.at(at);
  g.first[g.count] = holds && at == patches ? at : ~size_t{0};
}

/** Enqueues the check of an op's grids. */
template <class Op> Grids place_all(Stream& stream, const Op& op, size_t patches, size_t* first) {
  const Grids g{op.grids.data, op.grids.size / 3, op.merge, first};
  const int32_t merge = op.merge;
  const GridRefusals refusals{
      refusal(stream, "INVALID_ARGUMENT",
              [=](size_t i, const auto& v) -> std::string { return GridMessage::sides(Op::kName, i, merge, v[0], v[1], v[2]).text; }),
      refusal(stream, "INVALID_ARGUMENT",
              [=](size_t i, const auto& v) -> std::string { return GridMessage::too_many(Op::kName, patches, i, v[0], v[1], v[2]).text; }),
      refusal(stream, "INVALID_ARGUMENT", [=](size_t got, const auto&) -> std::string { return GridMessage::too_few(Op::kName, patches, got).text; })};
  launch(stream, place_grids, 1, kThreads, g, patches, refusals);
  return g;
}

}  // namespace g2rpo::cuda
