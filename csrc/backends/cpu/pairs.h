// What products multiply: reals, or pairs of bf16 numbers that are neighbours along k, of which one instruction multiplies 32 by 32 and adds
// them to 16 sums in f32. Of that instruction set there are two builds, one of which computes the same bits without it. For hot files only.
#pragma once
#include "simd.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Two bf16 numbers, the first in the lower half. */
using Pair = uint32_t;
template <> struct VectorOf<Pair> {
  typedef Words type;
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
  typedef uint32_t unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};

/** What products of E are added up in, and how many numbers along k an E holds. */
template <class E> struct SumOf { using type = E; };
template <> struct SumOf<Pair> { using type = float; };
template <class E> using Sum = typename SumOf<E>::type;
template <class E> constexpr size_t deep = __is_same(E, Pair) ? 2 : 1;

/** How sums of E treat denormals while one of these lives: as numbers, or as the instruction for pairs does, which takes and gives them as zeros. */
template <class E> struct Denormals {
  G2_INLINE Denormals() {}
};

#if defined(__AVX512F__)

/** Both products of every pair added to c, the second ones first; each is rounded once. */
G2_INLINE Vec<float> fma(Words a, Words b, Vec<float> c) {
#if defined(__AVX512BF16__)
  return (Vec<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
  // volatile, so that they stay where Denormals has set the mode
  asm volatile("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(second_of_pairs(a)), "v"(second_of_pairs(b)));
  asm volatile("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(first_of_pairs(a)), "v"(first_of_pairs(b)));
  return c;
#endif
}

#if !defined(__AVX512BF16__)
template <> struct Denormals<Pair> {
  uint32_t before, zeros;
  G2_INLINE Denormals() {
    asm volatile("stmxcsr %0" : "=m"(before));
    zeros = before | 0x8040;  // of results and of operands
    asm volatile("ldmxcsr %0" : : "m"(zeros) : "memory");
  }
  G2_INLINE ~Denormals() { asm volatile("ldmxcsr %0" : : "m"(before) : "memory"); }
};

/** The nearest bf16 number of each in the upper half of a word, of two that are as near the even one; denormals become 0, NaN stays NaN. */
G2_INLINE Words rounded(Vec<float> x) {
  const Words bits = (Words)x, size = bits & 0x7fffffffu;
  const Words nearest = bits + 0x7fffu + (bits >> 16 & 1u);
  const Words number = size < 0x00800000u ? bits & 0x80000000u : nearest;
  return (size > 0x7f800000u ? bits | 0x00400000u : number) & 0xffff0000u;
}
#endif

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes)));

/** Pairs whose first numbers are those of one vector and whose second ones are those of another, rounded. */
G2_INLINE Words pairs_of(Vec<float> first, Vec<float> second) {
#if defined(__AVX512BF16__)
  const Halves side_by_side = (Halves)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  Halves order;
#pragma GCC unroll 32
  for (int i = 0; i < 32; i++) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
  return (Words)__builtin_shuffle(side_by_side, order);
#else
  return rounded(first) >> 16 | rounded(second);
#endif
}

/** Pairs of 32 numbers that lie along memory, rounded or as they are. */
G2_INLINE Words pairs_along(const float* p) {
  const Vec<float> a = load(p), b = load(p + lanes<float>);
#if defined(__AVX512BF16__)
  return (Words)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
#else
  Mask<float> even;
  for (int i = 0; i < lanes<float>; i++) even[i] = 2 * i;
  return pairs_of(__builtin_shuffle(a, b, even), __builtin_shuffle(a, b, even + 1));
#endif
}
G2_INLINE Words pairs_along(const bf16* p) { return load_words(p); }

G2_INLINE Pair pair_of(float first, float second) { return pairs_of(splat(first), splat(second))[0]; }
G2_INLINE Pair pair_of(bf16 first, bf16 second) { return first.bits | static_cast<uint32_t>(second.bits) << 16; }

#endif

/** A vector of them, of numbers that lie along memory. */
template <class E, class W> G2_INLINE Vec<E> along(const W* p) {
  if constexpr (deep<E> == 1) return load(p);
  else return pairs_along(p);
}
/** Element e of `depth` numbers along k, of which at(k) is one; a last one without a partner has 0 beside it. */
template <class E, class At> G2_INLINE E element(size_t e, size_t depth, At&& at) {
  if constexpr (deep<E> == 1) return widen(at(e));
  else return pair_of(at(2 * e), 2 * e + 1 < depth ? at(2 * e + 1) : decltype(at(0)){});
}
/** The same across memory, from vectors at(0) and, if `depth` is more than 1, at(1). */
template <class E, class At> G2_INLINE Vec<E> elements(size_t depth, At&& at) {
  if constexpr (deep<E> == 1) return at(0);
  else return pairs_of(at(0), depth > 1 ? at(1) : Vec<float>{});
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
