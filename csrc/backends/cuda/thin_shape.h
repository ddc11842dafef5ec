// How products of few rows are cut; also for those who give them memory.
#pragma once
#include <cstddef>

namespace g2rpo::cuda {

constexpr size_t kThinRows = 64, kThinColumns = 128;  // rows at most; columns of a block

constexpr size_t thin_tiles(size_t n) { return (n + kThinColumns - 1) / kThinColumns; }
/** How long a part of k is: by the blocks of all matrices and k alone. */
constexpr size_t thin_part(size_t tiles, size_t k) {
  constexpr size_t enough = 192, shortest = 256, unit = 64;  // blocks for a device's processors
  if (tiles == 0) return k;
  const size_t wanted = (enough + tiles - 1) / tiles, possible = k / shortest, count = wanted < possible ? wanted : possible;
  return count > 1 ? ((k + count - 1) / count + unit - 1) / unit * unit : k;
}
constexpr size_t thin_parts(size_t tiles, size_t k) { return (k + thin_part(tiles, k) - 1) / thin_part(tiles, k); }

}  // namespace g2rpo::cuda
