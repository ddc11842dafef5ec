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

/** Random words of one step. */
struct RoundingWords {
  uint32_t key, first;
  RoundingWords(int32_t step, int32_t first_place) : key(mixed(static_cast<uint32_t>(step))), first(static_cast<uint32_t>(first_place)) {}
  /** Tensor k of a launch, whose first one has that place among all that are moved. */
  __device__ uint32_t of_tensor(size_t k) const { return key + mixed((first + static_cast<uint32_t>(k)) ^ 0x9e3779b9u); }
  __device__ static uint32_t of_element(uint32_t of_tensor, size_t i) { return mixed(static_cast<uint32_t>(i) * 0x9e3779b9u + of_tensor); }
};

/** The lower or the upper bf16 neighbour of x, the upper one (away from 0) with the probability that keeps x in the mean; what is not finite stays so. */
__device__ inline bf16 rounded_at_random(float x, uint32_t random) {
  const uint32_t bits = __float_as_uint(x), size = bits & 0x7fffffffu;
  const uint32_t rounded = size < 0x7f800000u ? bits + (random & 0xffffu) : size > 0x7f800000u ? bits | 0x400000u : bits;
  return {static_cast<uint16_t>(rounded >> 16)};
}

}  // namespace g2rpo
