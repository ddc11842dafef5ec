// Random roundings on the device: the words of rounding.h, one by one.
#pragma once
#include "../../backends/cuda/device.h"

namespace g2rpo {

/** A mixer of two multiplications: every bit of x moves half of the bits of the result. */
__host__ __device__ inline uint32_t mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

/** Random words of one step, for the tensors of a launch, or for a piece of each. */
struct RoundingWords {
  uint32_t key, first, first_element;
  template <class Op>
  explicit RoundingWords(const Op& op)
      : key(mixed(static_cast<uint32_t>(op.step))), first(static_cast<uint32_t>(op.firstPlace)), first_element(static_cast<uint32_t>(op.firstElement)) {}
  /** Tensor k of a launch, whose first one has that place among all that are moved. */
  __device__ uint32_t of_tensor(size_t k) const { return key + mixed((first + static_cast<uint32_t>(k)) ^ 0x9e3779b9u); }
  __device__ uint32_t of_element(uint32_t of_tensor, size_t i) const { return mixed((first_element + static_cast<uint32_t>(i)) * 0x9e3779b9u + of_tensor); }
};

/** The lower or the upper bf16 neighbour of x, the upper one (away from 0) with the probability that keeps x in the mean; what is not finite stays so. */
__device__ inline bf16 rounded_at_random(float x, uint32_t random) {
  const uint32_t bits = __float_as_uint(x), size = bits & 0x7fffffffu;
  const uint32_t rounded = size < 0x7f800000u ? bits + (random & 0xffffu) : size > 0x7f800000u ? bits | 0x400000u : bits;
  return {static_cast<uint16_t>(rounded >> 16)};
}

}  // namespace g2rpo
