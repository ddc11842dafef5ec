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

template <class V> G2_INLINE V max(V a, V b) { return a > b ? a : b; }
template <class V> G2_INLINE V min(V a, V b) { return a < b ? a : b; }

/** Sum of the lanes in a fixed order: halves are added until one is left. */
template <class T> G2_INLINE T sum(Vec<T> v) {
  T a[lanes<T>];
  __builtin_memcpy(a, &v, sizeof a);
  for (int n = lanes<T> / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) a[i] += a[i + n];
  return a[0];
}
template <class T> G2_INLINE T largest(Vec<T> v) {
  T a[lanes<T>];
  __builtin_memcpy(a, &v, sizeof a);
  for (int n = lanes<T> / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) a[i] = a[i] > a[i + n] ? a[i] : a[i + n];
  return a[0];
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
  const Vec<float> clamped = min(max(x, splat<float>(-87.33654f)), splat<float>(88.72283f));
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
  // 2ⁿ in two factors, because n may be 128
  const Mask<float> k = (Mask<float>)t - (Mask<float>)shift;
  const Mask<float> half = k >> 1;
  const Vec<float> a = (Vec<float>)((half + 127) << 23), b = (Vec<float>)((k - half + 127) << 23);
  Vec<float> y = p * a * b;
  y = x < splat<float>(-87.33654f) ? splat<float>(0) : y;
  y = x > splat<float>(88.72283f) ? splat<float>(__builtin_inff()) : y;
  return x == x ? y : x;
}
G2_INLINE Vec<double> exp(Vec<double> x) {
  const Vec<double> lo = splat<double>(-708.39641853226408), hi = splat<double>(709.78271289338397);
  const Vec<double> clamped = min(max(x, lo), hi);
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
  const Mask<double> k = (Mask<double>)t - (Mask<double>)shift;
  const Mask<double> half = k >> 1;
  const Vec<double> a = (Vec<double>)((half + 1023) << 52), b = (Vec<double>)((k - half + 1023) << 52);
  Vec<double> y = p * a * b;
  y = x < lo ? splat<double>(0) : y;
  y = x > hi ? splat<double>(__builtin_inf()) : y;
  return x == x ? y : x;
}

/** 1/(1 + e⁻ˣ). */
template <class V> G2_INLINE V sigmoid(V x) { return 1 / (1 + exp(-x)); }
/** tanh x = 1 − 2/(e²ˣ + 1). */
template <class V> G2_INLINE V tanh(V x) { return 1 - 2 / (exp(x + x) + 1); }

}  // namespace G2_SIMD_NS(G2_ISA)
namespace simd = G2_SIMD_NS(G2_ISA);
}  // namespace g2rpo
