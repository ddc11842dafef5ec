#include "../adamw/update.cuh"
#include "arguments.h"

namespace g2rpo {

namespace {

constexpr int kOwn = kScaled / 32;  // elements that a lane takes, neighbours: those of a warp share a scale

/** A code c > 0 stands for the f32 number whose bits begin with c + offset: an exponent and three bits of fraction; 0 for 0. */
__device__ float decoded(uint32_t code, uint32_t offset) { return code ? __uint_as_float((code + offset) << 20) : 0.0f; }

/** One of the two codes around y in [0, kTop], the upper one if the place between them and `random` reach it together. */
__device__ uint32_t encoded(float y, uint32_t random, uint32_t offset, uint32_t top) {
  const float least = __uint_as_float((offset + 1) << 20);
  if (y < least) return y * kRandoms + static_cast<float>(random) * least >= least * kRandoms;  // both products are exact
  const uint32_t code = ((__float_as_uint(y) + random) >> 20) - offset;
  return code < top ? code : top;
}

template <class T> __device__ float scale_of(T most) {
  most = cuda::warp_max(most);
  return most > T(1e-36) ? static_cast<float>(most) / kTop : 0.0f;
}

/** kOwn neighbours, as far as there are any: those behind the end are zeros, and are not stored. */
template <int W, class T> __device__ void load_own(const T* from, size_t n, T (&to)[kOwn]) {
  for (size_t i = 0; i < kOwn; i += W)
    if (i + W <= n) {
      const auto pack = cuda::load<W>(from + i);
      for (size_t w = 0; w < W; w++) to[i + w] = pack.x[w];
    } else {
      for (size_t w = 0; w < W; w++) to[i + w] = i + w < n ? from[i + w] : T{};
    }
}
template <int W, class T> __device__ void store_own(T* to, size_t n, const T (&from)[kOwn]) {
  for (size_t i = 0; i < kOwn; i += W)
    if (i + W <= n) {
      cuda::Pack<T, W> pack;
      for (size_t w = 0; w < W; w++) pack.x[w] = from[i + w];
      cuda::store<W>(to + i, pack);
    } else {
      for (size_t w = 0; w < W; w++)
        if (i + w < n) to[i + w] = from[i + w];
    }
}

constexpr size_t kBlock = cuda::kThreads / 32 * kScaled;

enum Role { kGradient, kParameter, kFirstCode, kSecondCode, kFirstScale, kSecondScale };

/** A warp to the elements of one scale. */
template <class T, class P, int W>
__device__ void update(const cuda::Blocks& blocks, size_t k, size_t begin, size_t end, const UpdateScalars<T>& s, const RoundingWords& random_words) {
  constexpr int kCodes = W == 1 ? 1 : kOwn;
  const size_t block = begin / kScaled + threadIdx.x / 32, at = block * kScaled + threadIdx.x % 32 * kOwn;
  if (block * kScaled >= end) return;
  const size_t n = at < end ? end - at : 0;
  float *first_scale = blocks.data<float>(kFirstScale, k) + block, *second_scale = blocks.data<float>(kSecondScale, k) + block;
  T gradient[kOwn], first[kOwn], second[kOwn];
  P parameter[kOwn];
  uint8_t code[kOwn], square[kOwn];
  load_own<W>(blocks.data<T>(kGradient, k) + at, n, gradient);
  load_own<W>(blocks.data<P>(kParameter, k) + at, n, parameter);
  load_own<kCodes>(blocks.data<uint8_t>(kFirstCode, k) + at, n, code);
  load_own<kCodes>(blocks.data<uint8_t>(kSecondCode, k) + at, n, square);
  const float held_first = *first_scale, held_second = *second_scale;
  const uint32_t key = random_words.of_tensor(k);
  T most_first = 0, most_second = 0;
  for (int i = 0; i < kOwn; i++) {
    const float size = decoded(code[i] & 127u, kFirstOffset) * held_first;
    first[i] = static_cast<T>(code[i] & 128u ? -size : size);
    second[i] = static_cast<T>(decoded(square[i], kSecondOffset) * held_second);
    s.step(gradient[i], parameter[i], first[i], second[i], [&] { return random_words.of_element(key, at + i); });
    const T size_of_first = first[i] < 0 ? -first[i] : first[i];
    if (size_of_first > most_first) most_first = size_of_first;
    if (second[i] > most_second) most_second = second[i];
  }
  store_own<W>(blocks.data<P>(kParameter, k) + at, n, parameter);
  const float new_first = scale_of(most_first), new_second = scale_of(most_second);
  const float by_first = new_first > 0 ? 1 / new_first : 0.0f, by_second = new_second > 0 ? 1 / new_second : 0.0f;
  for (int i = 0; i < kOwn; i++) {
    const uint32_t random = random_words.of_element(key, at + i);
    const float y = static_cast<float>(first[i]) * by_first, z = static_cast<float>(second[i]) * by_second;
    const uint32_t bits = __float_as_uint(y);
    code[i] = static_cast<uint8_t>(encoded(__uint_as_float(bits & 0x7fffffffu), (random & 0xffffu) << 4, kFirstOffset, 127) | (bits >> 24 & 128u));
    // a second moment that is not 0 stays so: the first is divided by its root
    const uint32_t q = encoded(z, random >> 16 << 4, kSecondOffset, 255);
    square[i] = static_cast<uint8_t>(q == 0 && z > 0 ? 1 : q);
  }
  store_own<kCodes>(blocks.data<uint8_t>(kFirstCode, k) + at, n, code);
  store_own<kCodes>(blocks.data<uint8_t>(kSecondCode, k) + at, n, square);
  __syncwarp();  // all lanes have read the scales
  if (threadIdx.x % 32 == 0) *first_scale = new_first, *second_scale = new_second;
}

template <class T, class P> __global__ void update_all(cuda::Blocks blocks, UpdateScalars<T> s, RoundingWords random) {
  const auto [k, begin, end] = blocks.part(blockIdx.x);
  const bool wide = cuda::aligned(blocks.data<T>(kGradient, k), blocks.data<P>(kParameter, k), blocks.data<uint8_t>(kFirstCode, k), blocks.data<uint8_t>(kSecondCode, k));
  if (wide) update<T, P, cuda::kWide<T>>(blocks, k, begin, end, s, random);
  else update<T, P, 1>(blocks, k, begin, end, s, random);
}

}  // namespace

KERNEL_WEIGHT(cuda, Adamw8bit) {
  if (!arguments_hold(stream, op)) return;
  const cuda::Lists lists(stream, kBlock, op.gradients, op.parameters, op.firstCodes, op.secondCodes, op.firstScales, op.secondScales);
  if (lists.total() == 0) return;
  cuda::launch(stream, update_all<T, W>, static_cast<unsigned>(lists.total()), cuda::kThreads, lists.blocks(), UpdateScalars<T>(op), RoundingWords(op));
}

}  // namespace g2rpo
