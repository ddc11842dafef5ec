// Exponential variates, 64 at a time: the clocks of a race that decides which id is sampled. Hot files only.
#pragma once
#include "../../backends/cpu/simd.h"
#include "../../core/random.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Ids that share a call of Philox: id v has word (v mod 64) / 16 of counter block 16·(v / 64) + v mod 16. */
constexpr size_t kGroup = 64;

typedef uint64_t WideWords __attribute__((vector_size(kVectorBytes)));

G2_INLINE WideWords multiply_words(WideWords a, uint32_t m) {
#if defined(__AVX512F__)
  return (WideWords)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)(WideWords{} + uint64_t{m}));
#elif defined(__AVX2__)
  return (WideWords)_mm256_mul_epu32((__m256i)a, (__m256i)(WideWords{} + uint64_t{m}));
#elif defined(__SSE2__)
  return (WideWords)_mm_mul_epu32((__m128i)a, (__m128i)(WideWords{} + uint64_t{m}));
#elif defined(__aarch64__)
  return (WideWords)vmull_u32(vmovn_u64((uint64x2_t)a), vdup_n_u32(m));
#else
  return (a & uint64_t{0xffffffff}) * uint64_t{m};
#endif
}

/** Where the random numbers of one row come from. */
struct RandomKey {
  uint64_t rounds[10][2];  // keys of Philox, in memory since they are too many for registers
  uint32_t rollout, token;

  G2_INLINE RandomKey(uint32_t seed, uint32_t step, uint32_t rollout, uint32_t token) : rollout(rollout), token(token) {
    philox_keys(seed, step, rounds);
  }
};

/** 31 random bits for each id of group g, in the order of the ids. */
G2_INLINE void random_bits(const RandomKey& key, size_t g, int32_t* bits) {
  constexpr int n = kVectorBytes / 8;  // blocks of a vector; two vectors fill one of 32-bit words, even blocks and odd ones
  for (int first = 0; first < 16; first += 2 * n) {
    WideWords even[4], odd[4], block;
    for (int i = 0; i < n; i++) block[i] = static_cast<uint64_t>(2 * i);
    block += 16 * g + static_cast<size_t>(first);
    even[0] = odd[0] = WideWords{} + uint64_t{key.rollout};
    even[1] = odd[1] = WideWords{} + uint64_t{key.token};
    even[2] = block;
    odd[2] = block + 1;
    even[3] = odd[3] = WideWords{};
    philox4x32(even, key.rounds, multiply_words);
    philox4x32(odd, key.rounds, multiply_words);
    for (int word = 0; word < 4; word++) {
      const WideWords both = (even[word] & uint64_t{0xffffffff}) | odd[word] << 32;
      store_words(bits + 16 * word + first, (Words)both >> 1);
    }
  }
}

/** u = (bits + ½) / 2³¹, but never 1. */
template <class T> G2_INLINE Vec<T> uniform(const int32_t* bits) {
  typedef int32_t Bits __attribute__((vector_size(4 * lanes<T>)));
  Bits b;
  __builtin_memcpy(&b, bits, sizeof b);
  const T below_one = sizeof(T) == 4 ? T(1) - T(1) / (1 << 24) : T(1);  // f32 may round up to 1
  return min((__builtin_convertvector(b, Vec<T>) + T(0.5)) * (T(1) / 2147483648), splat<T>(below_one));
}

/** −log(1 − u), exact to rounding down to the smallest u: those win the race. 1 − u = 2ᵏ(1 + f), √½ ≤ 1 + f < √2. */
G2_INLINE Vec<float> exponential(Vec<float> u) {
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const Mask<float> i = (Mask<float>)(1 - u) - kRootHalf;
  const Mask<float> k = i >> 23;
  const Vec<float> rest = (Vec<float>)((i & 0x7fffff) + kRootHalf);
  const Vec<float> f = k == 0 ? -u : rest - 1;  // 1 − u would have lost the lower bits of u
  // log(1 + f) = f + f²·p(f), p fitted by weighted least squares, relative error of the whole below 5e-8
  const float c[] = {0.0897939801f, -0.1442682f, 0.14883703f, -0.165517971f, 0.199634761f, -0.250025839f, 0.333339334f, -0.499999821f};
  Vec<float> p = splat(c[0]);
  for (int j = 1; j < 8; j++) p = fma(p, f, splat(c[j]));
  return -fma(__builtin_convertvector(k, Vec<float>), splat(0.693147181f), fma(f * f, p, f));
}
G2_INLINE Vec<double> exponential(Vec<double> u) {
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  const Mask<double> i = (Mask<double>)(1 - u) - kRootHalf;
  const Mask<double> k = i >> 52;
  const Vec<double> rest = (Vec<double>)((i & 0xfffffffffffff) + kRootHalf);
  const Vec<double> f = k == 0 ? -u : rest - 1;
  // log(1 + f) = 2(s + s³/3 + s⁵/5 + …), s = f / (2 + f), |s| < 0.172
  const Vec<double> s = f / (f + 2), q = s * s;
  Vec<double> p = splat(1.0 / 21);
  for (int j = 19; j >= 1; j -= 2) p = fma(p, q, splat(1.0 / j));
  return -fma(__builtin_convertvector(k, Vec<double>), splat(0.693147180559945309), 2 * s * p);
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
