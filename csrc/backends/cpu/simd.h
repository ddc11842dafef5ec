// Vectors of one instruction set, for hot files only. The same source is compiled once per instruction set, each in its
// own namespace, with G2_ISA naming it; every function is inlined, so that nothing of it can be picked by the linker for
// another. Arithmetic operators are the compiler's vector extensions; fused multiply-adds are explicit.
#pragma once
#include "../../core/dtype.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef G2_ISA
#define G2_ISA generic
#endif
#define G2_SIMD_NS_(isa) simd_##isa
#define G2_SIMD_NS(isa) G2_SIMD_NS_(isa)

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
  typedef float unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};
template <> struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
  typedef double unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
};
template <class T> using Vec = typename VectorOf<T>::type;
template <class T> using Mask = typename VectorOf<T>::mask;
template <class T> constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T> G2_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}
template <class T> G2_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}
/** The same past the caches, to where a whole vector is aligned; `landed` comes before others may read it. */
template <class T> G2_INLINE void store_past(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) _mm512_stream_ps(p, (__m512)v);
  else _mm512_stream_pd(p, (__m512d)v);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) _mm256_stream_ps(p, (__m256)v);
  else _mm256_stream_pd(p, (__m256d)v);
#else
  store(p, v);
#endif
}
/** What `store_past` stored before is there for others. */
G2_INLINE void landed() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}
/** Minus zero, because that is x whatever its sign and costs nothing. */
template <class T> G2_INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }

/** The first n lanes from memory, the others `rest`; 0 ≤ n ≤ lanes. Never reads past p + n. */
template <class T> G2_INLINE Vec<T> load_n(const T* p, size_t n, T rest = T(0)) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (Vec<T>)_mm512_mask_loadu_ps((__m512)splat<T>(rest), static_cast<__mmask16>((1u << n) - 1), p);
  else
    return (Vec<T>)_mm512_mask_loadu_pd((__m512d)splat<T>(rest), static_cast<__mmask8>((1u << n) - 1), p);
#else
  Vec<T> v = splat<T>(rest);
  for (size_t i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
template <class T> G2_INLINE void store_n(T* p, Vec<T> v, size_t n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
  else _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m512d)v);
#else
  for (size_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

/** Half a vector from p, half from q, where there is one; else 0. */
template <class T> G2_INLINE Vec<T> load_halves(const T* p, const T* q) {
#if defined(__AVX512F__)
  const __m256d low = p ? _mm256_loadu_pd(reinterpret_cast<const double*>(p)) : __m256d{}, high = q ? _mm256_loadu_pd(reinterpret_cast<const double*>(q)) : __m256d{};
  return (Vec<T>)_mm512_maskz_insertf64x4(0xff, _mm512_castpd256_pd512(low), high, 1);
#else
  Vec<T> v = Vec<T>{};
  if (p) __builtin_memcpy(&v, p, sizeof v / 2);
  if (q) __builtin_memcpy(reinterpret_cast<char*>(&v) + sizeof v / 2, q, sizeof v / 2);
  return v;
#endif
}
template <class T> G2_INLINE void store_halves(T* p, T* q, Vec<T> v) {
#if defined(__AVX512F__)
  _mm256_storeu_pd(reinterpret_cast<double*>(p), _mm512_castpd512_pd256((__m512d)v));
  _mm256_storeu_pd(reinterpret_cast<double*>(q), _mm512_maskz_extractf64x4_pd(0xf, (__m512d)v, 1));
#else
  __builtin_memcpy(p, &v, sizeof v / 2);
  __builtin_memcpy(q, reinterpret_cast<const char*>(&v) + sizeof v / 2, sizeof v / 2);
#endif
}
/** The lower half of a and the upper half of b. */
template <class T> G2_INLINE Vec<T> join_halves(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_mask_blend_ps(0xff00, (__m512)a, (__m512)b);
  else return (Vec<T>)_mm512_mask_blend_pd(0xf0, (__m512d)a, (__m512d)b);
#else
  __builtin_memcpy(&b, &a, sizeof b / 2);
  return b;
#endif
}

/** As many words as there are lanes of f32. */
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
G2_INLINE Words words(uint32_t x) { return x - Words{}; }
G2_INLINE Words load_words(const void* p) {
  Words v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
G2_INLINE void store_words(void* p, Words v) { __builtin_memcpy(p, &v, sizeof v); }

/** As many bf16 numbers as there are lanes of f32, widened. */
G2_INLINE Vec<float> load(const bf16* p) {
#if defined(__AVX512F__)
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (Vec<float>)_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, half), 16);
#elif defined(__AVX2__)
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return (Vec<float>)_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
#else
  typedef uint16_t half __attribute__((vector_size(kVectorBytes / 2)));
  half v;
  __builtin_memcpy(&v, p, sizeof v);
  return (Vec<float>)(__builtin_convertvector(v, Words) << 16);
#endif
}
/** The first n lanes from memory, the others 0. Never reads past p + n. */
G2_INLINE Vec<float> load_n(const bf16* p, size_t n) {
  bf16 held[lanes<float>] = {};
  __builtin_memcpy(held, p, n * sizeof(bf16));
  return load(held);
}
/** Pairs of bf16 numbers that are neighbours in memory: the first of each is the lower half of a word. */
G2_INLINE Vec<float> first_of_pairs(Words pairs) { return (Vec<float>)(pairs << 16); }
G2_INLINE Vec<float> second_of_pairs(Words pairs) { return (Vec<float>)(pairs & 0xffff0000u); }

/** a·b + c, rounded once where the instruction set has it. */
G2_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
G2_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
  return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

/** a where it is larger (smaller), else b: if one of them is NaN, b. */
template <class V> G2_INLINE V max(V a, V b) { return a > b ? a : b; }
template <class V> G2_INLINE V min(V a, V b) { return a < b ? a : b; }
// single instructions, which the compiler does not find
#if defined(__AVX512F__)
G2_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
G2_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b); }
G2_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm512_maskz_max_pd(0xff, (__m512d)a, (__m512d)b); }
G2_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm512_maskz_min_pd(0xff, (__m512d)a, (__m512d)b); }
#elif defined(__AVX2__)
G2_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm256_max_ps((__m256)a, (__m256)b); }
G2_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm256_min_ps((__m256)a, (__m256)b); }
G2_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm256_max_pd((__m256d)a, (__m256d)b); }
G2_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif defined(__x86_64__)
G2_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm_max_ps((__m128)a, (__m128)b); }
G2_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm_min_ps((__m128)a, (__m128)b); }
G2_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm_max_pd((__m128d)a, (__m128d)b); }
G2_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm_min_pd((__m128d)a, (__m128d)b); }
#endif

/** Lanes in two halves, joined until one lane is left: a fixed order. `V` is any vector of T. */
template <class T, class V, class F> G2_INLINE T fold(V v, F&& join) {
  constexpr int n = sizeof(V) / sizeof(T);
  if constexpr (n == 2) {
    return join(v[0], v[1]);
  } else {
    typedef T half __attribute__((vector_size(sizeof(V) / 2)));
    half low, high;
#if __has_builtin(__builtin_shufflevector)
    if constexpr (n == 16) {
      low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
      high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    } else if constexpr (n == 8) {
      low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
      high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
    } else {
      low = __builtin_shufflevector(v, v, 0, 1);
      high = __builtin_shufflevector(v, v, 2, 3);
    }
#else
    __builtin_memcpy(&low, &v, sizeof low);
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
#endif
    return fold<T>(join(low, high), join);
  }
}
template <class T> G2_INLINE T sum(Vec<T> v) {
  return fold<T>(v, [](auto a, auto b) __attribute__((always_inline)) { return a + b; });
}
template <class T> G2_INLINE T largest(Vec<T> v) {
  return fold<T>(v, [](auto a, auto b) __attribute__((always_inline)) { return a > b ? a : b; });
}

/** Whether a ≥ b in any lane. */
template <class V> G2_INLINE bool any_at_least(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(a[0]) == 4) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ) != 0;
  else return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GE_OQ) != 0;
#elif defined(__AVX2__)
  if constexpr (sizeof(a[0]) == 4) return _mm256_movemask_ps((__m256)(a >= b)) != 0;
  else return _mm256_movemask_pd((__m256d)(a >= b)) != 0;
#else
  typedef uint64_t Halves __attribute__((vector_size(kVectorBytes)));
  const Halves which = (Halves)(a >= b);
  uint64_t any = 0;
  for (int i = 0; i < kVectorBytes / 8; i++) any |= which[i];
  return any != 0;
#endif
}

/** √x, correctly rounded. */
G2_INLINE Vec<float> sqrt(Vec<float> x) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif defined(__AVX2__)
  return (Vec<float>)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (Vec<float>)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
  return (Vec<float>)vsqrtq_f32((float32x4_t)x);
#else
  for (int i = 0; i < lanes<float>; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
G2_INLINE Vec<double> sqrt(Vec<double> x) {
#if defined(__AVX512F__)
  return (Vec<double>)_mm512_maskz_sqrt_pd(0xff, (__m512d)x);
#elif defined(__AVX2__)
  return (Vec<double>)_mm256_sqrt_pd((__m256d)x);
#elif defined(__x86_64__)
  return (Vec<double>)_mm_sqrt_pd((__m128d)x);
#elif defined(__aarch64__)
  return (Vec<double>)vsqrtq_f64((float64x2_t)x);
#else
  for (int i = 0; i < lanes<double>; i++) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}

/** 1/√x, correctly rounded division and root. */
template <class T> G2_INLINE T rsqrt(T x) { return T(1) / static_cast<T>(__builtin_sqrt(static_cast<double>(x))); }

/** eˣ; relative error below 2e-7 in f32 and 4e-16 in f64; 0 below the smallest normal, +∞ above the largest. */
G2_INLINE Vec<float> exp(Vec<float> x) {
  // the bounds come first, so that a NaN passes them; the upper one is past the largest eˣ and still gives +∞
  const Vec<float> clamped = min(splat<float>(89.0f), max(splat<float>(-87.33654f), x));
  // n = round(x / ln 2), by the shift that drops the fraction bits
  const Vec<float> shift = splat<float>(12582912.0f);
  const Vec<float> t = fma(clamped, splat<float>(1.44269504f), shift);
  const Vec<float> n = t - shift;
  Vec<float> r = fma(n, splat<float>(-0.693359375f), clamped);
  r = fma(n, splat<float>(2.12194440e-4f), r);
  Vec<float> p = splat<float>(1.0f / 5040);
  p = fma(p, r, splat<float>(1.0f / 720));
  p = fma(p, r, splat<float>(1.0f / 120));
  p = fma(p, r, splat<float>(1.0f / 24));
  p = fma(p, r, splat<float>(1.0f / 6));
  p = fma(p, r, splat<float>(0.5f));
  p = fma(p, r, splat<float>(1.0f));
  p = fma(p, r, splat<float>(1.0f));
#if defined(__AVX512F__)
  const __mmask16 large = _mm512_cmp_ps_mask((__m512)x, (__m512)splat<float>(-87.33654f), _CMP_NLT_UQ);
  return (Vec<float>)_mm512_maskz_scalef_ps(large, (__m512)p, (__m512)n);
#else
  // 2ⁿ in two factors, because n may be 128
  const Mask<float> k = (Mask<float>)t - (Mask<float>)shift;
  const Mask<float> half = k >> 1;
  const Vec<float> a = (Vec<float>)((half + 127) << 23), b = (Vec<float>)((k - half + 127) << 23);
  Vec<float> y = p * a * b;
  y = x < splat<float>(-87.33654f) ? splat<float>(0) : y;
  return x > splat<float>(88.72283f) ? splat<float>(__builtin_inff()) : y;
#endif
}
G2_INLINE Vec<double> exp(Vec<double> x) {
  const Vec<double> lo = splat<double>(-708.39641853226408);
  const Vec<double> clamped = min(splat<double>(710.0), max(lo, x));
  const Vec<double> shift = splat<double>(6755399441055744.0);
  const Vec<double> t = fma(clamped, splat<double>(1.4426950408889634), shift);
  const Vec<double> n = t - shift;
  Vec<double> r = fma(n, splat<double>(-0.693145751953125), clamped);
  r = fma(n, splat<double>(-1.42860682030941723212e-6), r);
  const double c[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                      1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5,
                      1.0,              1.0};
  Vec<double> p = splat<double>(c[0]);
  for (int i = 1; i < 14; i++) p = fma(p, r, splat<double>(c[i]));
#if defined(__AVX512F__)
  const __mmask8 large = _mm512_cmp_pd_mask((__m512d)x, (__m512d)lo, _CMP_NLT_UQ);
  return (Vec<double>)_mm512_maskz_scalef_pd(large, (__m512d)p, (__m512d)n);
#else
  const Mask<double> k = (Mask<double>)t - (Mask<double>)shift;
  const Mask<double> half = k >> 1;
  const Vec<double> a = (Vec<double>)((half + 1023) << 52), b = (Vec<double>)((k - half + 1023) << 52);
  Vec<double> y = p * a * b;
  y = x < lo ? splat<double>(0) : y;
  return x > splat<double>(709.78271289338397) ? splat<double>(__builtin_inf()) : y;
#endif
}

/** 1/(1 + e⁻ˣ). */
template <class V> G2_INLINE V sigmoid(V x) { return 1 / (1 + exp(-x)); }
/** tanh x = 1 − 2/(e²ˣ + 1). */
template <class V> G2_INLINE V tanh(V x) { return 1 - 2 / (exp(x + x) + 1); }

}  // namespace G2_SIMD_NS(G2_ISA)
namespace simd = G2_SIMD_NS(G2_ISA);
}  // namespace g2rpo
