// Random roundings that are a pure function of step, tensor and element: adamw and adamw8bit share them. Hot files only.
#pragma once
#include "../../backends/cpu/lanes.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

constexpr size_t kWords = static_cast<size_t>(lanes<float>);

/** A mixer of two multiplications: every bit of x moves half of the bits of the result. */
template <class V> G2_INLINE V mixed(V x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

/** Random words of the elements of one tensor at one step. */
struct RoundingWords {
  uint32_t key;
  Words places{};

  G2_INLINE RoundingWords(int32_t step, size_t tensor)
      : key(mixed(static_cast<uint32_t>(step)) + mixed(static_cast<uint32_t>(tensor) ^ 0x9e3779b9u)) {
    for (uint32_t i = 0; i < kWords; i++) places[i] = i * 0x9e3779b9u;
  }
  /** Of the elements from `first` on. */
  G2_INLINE Words at(size_t first) const { return mixed(words(static_cast<uint32_t>(first)) * 0x9e3779b9u + places + key); }
};

/**
 * The lower or the upper bf16 neighbour of x, the upper one (away from 0) with the probability that keeps x in the mean: 16 random
 * bits are added to those that are dropped. What is not finite stays so.
 */
G2_INLINE void store_rounded(bf16* to, Vec<float> x, Words random) {
  const Words bits = (Words)x, size = bits & 0x7fffffffu;
  const Words finite = (Words)(size < 0x7f800000u), nan = (Words)(size > 0x7f800000u);
  const Words rounded = (bits + (random & finite & 0xffffu)) | (nan & 0x400000u);
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
  const Halves halves = __builtin_convertvector(rounded >> 16, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
