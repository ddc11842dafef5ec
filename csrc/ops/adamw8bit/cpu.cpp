// hot
#include "arguments.h"

#include "../adamw/update.h"

namespace g2rpo {

namespace {
using namespace simd;

typedef int32_t Signed __attribute__((vector_size(kVectorBytes)));

/** A code c > 0 stands for the f32 number whose bits begin with c + offset: an exponent and three bits of fraction; 0 for 0. */
template <uint32_t offset> G2_INLINE Vec<float> decoded(Words code) {
  return (Vec<float>)(((code + offset) << 20) & (Words)(code > 0u));
}

/** One of the two codes around y in [0, kTop], the upper one if the place between them and `random` reach it together. */
template <uint32_t offset, uint32_t top> G2_INLINE Words encoded(Vec<float> y, Words random) {
  constexpr float least = __builtin_bit_cast(float, (offset + 1) << 20);
  const Words code = (((Words)y + random) >> 20) - offset, most = words(top);
  const Vec<float> reached = y * kRandoms + __builtin_convertvector((Signed)random, Vec<float>) * least;
  const Words small = (Words)(reached >= splat<float>(least * kRandoms)) & 1u;
  return y < splat<float>(least) ? small : code < most ? code : most;
}

/** The scale of a block, or 0 where all of it is nothing. */
template <class T> G2_INLINE float scale_of(const T* x, size_t n) {
  Vec<T> most{};
  for_lanes<T>(0, n, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> v = at.load(x + i);
    most = simd::max(most, simd::max(v, -v));
  });
  const T found = largest<T>(most);
  return found > T(1e-36) ? static_cast<float>(found) / kTop : 0.0f;
}

}  // namespace

KERNEL_WEIGHT(cpu, Adamw8bit) {
  if (!arguments_hold(stream, op)) return;
  const AdamWUpdate<T> update(op);
  Scratch scratch;
  ListBlocks(op.gradients.items, op.gradients.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    const RoundingWords random_words(op.step, place_of(op, k));
    for (size_t at_block = begin; at_block < end; at_block += kScaled) {
      const size_t n = end - at_block < kScaled ? end - at_block : kScaled;
      const T* gradient = op.gradients[k].data + at_block;
      uint8_t *first = op.firstCodes[k].data + at_block, *second = op.secondCodes[k].data + at_block;
      float *first_scale = op.firstScales[k].data + at_block / kScaled, *second_scale = op.secondScales[k].data + at_block / kScaled;
      alignas(64) uint32_t code[kScaled] = {}, square[kScaled] = {};
      alignas(64) float narrow_m[kScaled], narrow_v[kScaled];
      alignas(64) T m[kScaled], v[kScaled];
      for (size_t i = 0; i < n; i++) code[i] = first[i], square[i] = second[i];
      const Vec<float> held_first = splat(*first_scale), held_second = splat(*second_scale);
      for (size_t i = 0; i < n; i += kWords) {
        const Words c = load_words(code + i);
        const Vec<float> size = decoded<kFirstOffset>(c & 127u) * held_first;
        store(narrow_m + i, (Vec<float>)((Words)size | (c & 128u) << 24));
        store(narrow_v + i, decoded<kSecondOffset>(load_words(square + i)) * held_second);
      }
      for (size_t i = 0; i < n; i++) m[i] = static_cast<T>(narrow_m[i]), v[i] = static_cast<T>(narrow_v[i]);
      update.apply(gradient, op.parameters[k].data + at_block, m, v, n, element_of(op, at_block), random_words);
      const float new_first = scale_of(m, n), new_second = scale_of(v, n);
      *first_scale = new_first;
      *second_scale = new_second;
      for (size_t i = 0; i < n; i++) narrow_m[i] = static_cast<float>(m[i]), narrow_v[i] = static_cast<float>(v[i]);
      const Vec<float> by_first = splat(new_first > 0 ? 1 / new_first : 0.0f), by_second = splat(new_second > 0 ? 1 / new_second : 0.0f);
      for (size_t i = 0; i < n; i += kWords) {
        const Words random = random_words.at(element_of(op, at_block + i));
        const Vec<float> y = load(narrow_m + i) * by_first, z = load(narrow_v + i) * by_second;
        const Words sign = (Words)y >> 24 & 128u;
        store_words(code + i, encoded<kFirstOffset, 127>((Vec<float>)((Words)y & 0x7fffffffu), (random & 0xffffu) << 4) | sign);
        // a second moment that is not 0 stays so: the first is divided by its root
        const Words q = encoded<kSecondOffset, 255>(z, random >> 16 << 4);
        store_words(square + i, q | ((Words)(q == 0u) & (Words)(z > splat<float>(0)) & 1u));
      }
      for (size_t i = 0; i < n; i++) first[i] = static_cast<uint8_t>(code[i]), second[i] = static_cast<uint8_t>(square[i]);
    }
  });
}

}  // namespace g2rpo
