// Exponential and logarithm of vectors. Hot files only.
#pragma once
#include "matrices.h"

namespace g2rpo {

namespace {

constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.69314718055994531;

/** 2ˣ for x ≤ 0; relative error below 2e-7. From 2⁻¹²⁵ down it stays there: beside a weight of 1 that is nothing. */
G2_INLINE Vec<float> exp2(Vec<float> x) {
  x = simd::max(simd::splat(-125.0f), x);  // NaN stays NaN
  const Vec<float> shift = simd::splat(12582912.0f);
  const Vec<float> t = x + shift, r = x - (t - shift);
  // minimax on [−½, ½], exact at 0
  Vec<float> p = simd::splat(0x1.5d0366p-10f);
  p = simd::fma(p, r, simd::splat(0x1.3cf602p-7f));
  p = simd::fma(p, r, simd::splat(0x1.c6b3e4p-5f));
  p = simd::fma(p, r, simd::splat(0x1.ebf998p-3f));
  p = simd::fma(p, r, simd::splat(0x1.62e42cp-1f));
  p = simd::fma(p, r, simd::splat(1.0f));
  return (Vec<float>)((Mask<float>)p + ((Mask<float>)t << 23));
}
/** Relative error below 4e-16; not below 2⁻¹⁰²¹. */
G2_INLINE Vec<double> exp2(Vec<double> x) {
  x = simd::max(simd::splat(-1021.0), x);
  const Vec<double> shift = simd::splat(6755399441055744.0);
  const Vec<double> t = x + shift, r = (x - (t - shift)) * simd::splat(kLn2);
  Vec<double> p = simd::splat(1.0 / 6227020800);
  const double rest[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                         1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  for (double c : rest) p = simd::fma(p, r, simd::splat(c));
  return (Vec<double>)((Mask<double>)p + ((Mask<double>)t << 52));
}

/** ln x of normal positive x, NaN and infinity otherwise as they come: ln(2ᵉm) = e ln 2 + 2 artanh((m−1)/(m+1)), √½ ≤ m < √2. */
template <class T> G2_INLINE Vec<T> log(Vec<T> x) {
  constexpr int bits = sizeof(T) == 4 ? 23 : 52;
  const Mask<T> root = (Mask<T>)simd::splat(static_cast<T>(0.70710678118654752));
  const Mask<T> e = ((Mask<T>)x - root) >> bits;
  const Vec<T> m = (Vec<T>)((Mask<T>)x - (e << bits));
  const Vec<T> s = (m - 1) / (m + 1), q = s * s;
  Vec<T> p = Vec<T>{};
  for (int k = sizeof(T) == 4 ? 9 : 23; k > 0; k -= 2) p = simd::fma(p, q, simd::splat(static_cast<T>(2.0 / k)));
  const Vec<T> y = simd::fma(__builtin_convertvector(e, Vec<T>), simd::splat(static_cast<T>(kLn2)), p * s);
  return x < static_cast<T>(__builtin_inf()) ? y : x;
}

}  // namespace

}  // namespace g2rpo
