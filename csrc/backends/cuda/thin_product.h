// Few rows times large matrices, as in decoding: what counts is how fast the matrices come from memory.
#pragma once
#include "tensor_gemm.cuh"
#include "thin_shape.h"

namespace g2rpo::cuda {

/**
 * Where number k of a row lies: of 32 neighbours the 16 pairs change places as a square of 4 × 4 does that is transposed. So the tensor core's lanes get of
 * rows what they get of matrices with a load of 16 bytes.
 */
__host__ __device__ inline size_t place_of(size_t k) { return k / 32 * 32 + k % 8 / 2 * 8 + k % 32 / 8 * 2 + k % 2; }
/** Neighbours k, k + 1, … of such a row, rounded. */
template <int W> __device__ void put_arranged(bf16* row, size_t k, const Pack<float, W>& x) {
  if constexpr (W == 1) {
    store_as<1>(row + place_of(k), x);
  } else {
#pragma unroll
    for (int w = 0; w < W; w += 2) *reinterpret_cast<uint32_t*>(row + place_of(k + static_cast<size_t>(w))) = pack_bf16(x.x[w], x.x[w + 1]);
  }
}
/** From one such row to the next. */
__host__ __device__ constexpr size_t thin_stride(size_t k) { return (k + 31) / 32 * 32; }

/**
 * A·B of rows and matrices of bf16, all along k, which may lie side by side as one. k is cut into parts by n and k alone, and a row is added up in the same
 * order whatever stands beside it: of up to kThinRows rows its bits are its own.
 */
struct ThinProduct {
  struct Matrix {
    const bf16* b;  // [n, k]
    size_t n;
  };
  static constexpr size_t kMost = 3;

  size_t m, k;  // k a multiple of 8; everything begins at 16 bytes
  const bf16* a;  // [m, stride()], each row as place_of says
  Matrix matrices[kMost];

  size_t stride() const { return thin_stride(k); }
  size_t n() const;
  size_t tiles() const;
  /** of k, and how long one is */
  size_t parts() const { return thin_parts(tiles(), k); }
  size_t part() const { return thin_part(tiles(), k); }
};

/** partials [parts, m, n]: whoever reads them adds them in their order. */
void multiply_thin(Stream&, const ThinProduct&, float* partials);
/** Into `to`, with all that is added there; its m, n and k are those of the product. */
void multiply_thin(Stream&, const ThinProduct&, const Product<float>& to);

/** Rows [m, k] as a product takes them; k is a multiple of 8. */
template <class A> void arrange_rows(Stream&, const A* from, size_t m, size_t k, bf16* to);
/** As `multiply`, of at most kThinRows rows that lie as they are; A and B along k, whose rows are pieces of 16 bytes. */
template <class A> void multiply_thin(Stream&, const TensorProduct<A, bf16>&);

}  // namespace g2rpo::cuda
