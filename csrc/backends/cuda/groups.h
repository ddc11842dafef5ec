// Rows in groups whose sizes only the device knows: those of group g are [starts[g], starts[g + 1]). Grids are sized by what is known of their
// number; where the tiles of a group begin is counted before.
#pragma once
#include "device.h"

namespace g2rpo::cuda {

/** Of a group nothing is asked but that starts rise. */
struct AnyGroup {
  __device__ bool operator()(size_t) const { return true; }
};

/** tiles[g]: how many tiles come before group g, in which a row has `per_row` places of `side`; no tiles at all where something is wrong. One block. */
template <class Holds>
__global__ void count_tiles(const int32_t* starts, size_t groups, size_t rows, size_t per_row, size_t side, int32_t* tiles, Refusal rising, Holds holds) {
  __shared__ int32_t total[256];
  __shared__ bool wrong;
  const size_t t = threadIdx.x, each = (groups + 255) / 256, begin = t * each, end = begin + each < groups ? begin + each : groups;
  if (t == 0) {
    wrong = starts[0] != 0 || static_cast<size_t>(starts[groups]) != rows;
    if (wrong) rising.at(0);
  }
  __syncthreads();
  const auto count = [&](size_t g) { return static_cast<int32_t>((static_cast<size_t>(starts[g + 1] - starts[g]) * per_row + side - 1) / side); };
  int32_t mine = 0;
  bool refused = false;
  for (size_t g = begin; g < end; g++) {
    if (starts[g] > starts[g + 1]) rising.at(g), refused = true;
    else mine += count(g);
    if (!holds(g)) refused = true;
  }
  total[t] = mine;
  if (refused) wrong = true;
  __syncthreads();
  int32_t at = 0;
  for (size_t i = 0; i < t; i++) at += total[i];
  for (size_t g = begin; g < end; g++) {
    tiles[g] = wrong ? 0 : at;
    if (!wrong) at += count(g);
  }
  if (t == 255) tiles[groups] = wrong ? 0 : at;
}

/** Where the tiles of every group begin; `holds` may refuse a group for reasons of its own. There are no more tiles than `bound`. */
struct GroupTiles {
  Temporary<int32_t> tiles;
  unsigned bound;
  template <class Holds = AnyGroup>
  GroupTiles(Stream& stream, const int32_t* starts, size_t groups, size_t rows, size_t per_row, size_t side, Refusal rising, const Holds& holds = {})
      : tiles(stream, groups + 1), bound(static_cast<unsigned>(rows * per_row / side + groups)) {
    launch(stream, count_tiles<Holds>, 1u, 256u, starts, groups, rows, per_row, side, tiles.get(), rising, holds);
  }
};

}  // namespace g2rpo::cuda
