// Rows of bf16 as products of warpgroups take them from shared memory: panels of 64 columns, and one of the 16 that a width of 80 leaves. Rows of a panel lie
// behind each other; their pieces of 16 bytes have changed places, so that the same piece of eight rows lies in different banks. Rows lie so in global memory
// too, where those of a tile are one piece of each panel.
#pragma once
#include <warpgroup.cuh>

#include "device.h"

namespace g2rpo::cuda {

/** How many bytes a panel must be aligned to in shared memory. */
constexpr unsigned kPanelAlignment = 1024;
/** The first such place of dynamic shared memory, which must be that much larger. */
__device__ inline unsigned char* aligned_shared() {
  const uint32_t behind = shared_address(dynamic_shared) % kPanelAlignment;
  return reinterpret_cast<unsigned char*>(dynamic_shared) + (behind ? kPanelAlignment - behind : 0);
}

template <int Width> struct Panels {
  static constexpr int wide = Width / 64, rest = Width % 64, pieces = Width / 8, count = wide + (rest > 0);
  static_assert(rest == 0 || rest == 16);
  __host__ __device__ static constexpr unsigned row_bytes(int panel) { return panel < wide ? 128 : 32; }
  /** Where a panel of `rows` rows begins. */
  __host__ __device__ static size_t begin(int panel, size_t rows) { return static_cast<size_t>(panel) * rows * 128; }

  /** Where a piece of a row lies among `rows`, in pieces; `counted`: the row as counted from the first one of some tile. */
  __host__ __device__ static size_t at(size_t rows, size_t row, unsigned piece, unsigned counted) {
    if (rest == 0 || piece < 8 * wide) return (piece / 8 * rows + row) * 8 + (piece % 8 ^ counted % 8);
    return 8 * wide * rows + row * 2 + (piece % 2 ^ counted / 4 % 2);
  }
};

/** A descriptor: where a matrix begins, two distances in bytes, and over how many bytes its pieces change places (1: 128, 3: 32). */
__device__ inline uint64_t describe(uint32_t address, unsigned leading, unsigned stride, unsigned mode) {
  return static_cast<uint64_t>(address >> 4 & 0x3fff) | static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(mode) << 62;
}
/** `first` rows further in a panel of such rows; whole patterns of eight rows. */
__host__ __device__ constexpr uint64_t rows_on(unsigned first, unsigned row_bytes) { return first * row_bytes / 16; }

/** A tile of `Rows` rows in shared memory, as an operand. */
template <int Width, int Rows> struct PanelTile {
  using P = Panels<Width>;
  static constexpr unsigned bytes = Rows * Width * 2;
  uint64_t wide, narrow;  // with rows of eight behind each other; the leading distance, which only columns of several panels need, is 16 as where it means nothing

  __device__ explicit PanelTile(const void* begin)
      : wide(describe(shared_address(begin), 16, 8 * 128, 1)), narrow(describe(shared_address(begin) + P::wide * Rows * 128, 16, 8 * 32, 3)) {}
  /** 16 columns from 16·step on of the rows from `first` on, multiplied along the columns. */
  __device__ uint64_t columns(int step, unsigned first = 0) const {
    if (step < 4 * P::wide) return wide + static_cast<uint64_t>(step / 4) * rows_on(Rows, 128) + rows_on(first, 128) + static_cast<uint64_t>(step % 4) * 2;
    return narrow + rows_on(first, 32);
  }
  /** All columns of the wide panels, of the narrow one, of 16 rows from 16·step on, multiplied along the rows. */
  __device__ uint64_t wide_rows(int step) const { return wide + (static_cast<uint64_t>(Rows * 128 / 16 - 1) << 16) + rows_on(16 * static_cast<unsigned>(step), 128); }
  __device__ uint64_t narrow_rows(int step) const { return narrow + rows_on(16 * static_cast<unsigned>(step), 32); }
};

/** sum[64][Rows of b] = 64 rows of a, from `first` on, times all rows of b. */
template <int Width, int ARows, int BRows> __device__ void multiply_rows(float (&sum)[BRows / 8][4], const PanelTile<Width, ARows>& a, unsigned first, const PanelTile<Width, BRows>& b) {
#pragma unroll
  for (int step = 0; step < Width / 16; step++) multiply_shared<BRows, 0>(sum, a.columns(step, first), b.columns(step), step > 0);
}

/** sum[64][Width] += weights[64][Rows] · rows of b, the weights as bf16 in registers. */
template <int Width, int Rows> __device__ void add_weighted(float (&sum)[Width / 8][4], const uint32_t (&weights)[Rows / 16][4], const PanelTile<Width, Rows>& b) {
  using P = Panels<Width>;
#pragma unroll
  for (int step = 0; step < Rows / 16; step++) {
    multiply_held<64 * P::wide, 0>(sum, weights[step], b.wide_rows(step));
    if constexpr (P::rest > 0) multiply_held<P::rest, 8 * P::wide>(sum, weights[step], b.narrow_rows(step));
  }
}

}  // namespace g2rpo::cuda
