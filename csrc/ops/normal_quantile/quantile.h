// Φ⁻¹ of vectors, in f64. For hot files. No multiply-add is fused, so that every instruction set gives the same bits.
#pragma once
#include "../../backends/cpu/simd.h"
#include "coefficients.h"

namespace g2rpo {

namespace {

using Reals = simd::Vec<double>;

template <int N> G2_INLINE Reals polynomial(const double (&c)[N], Reals x) {
  Reals y = simd::splat(c[N - 1]);
#pragma GCC unroll 8
  for (int i = N - 2; i >= 0; i--) y = y * x + c[i];
  return y;
}

/** ln x for x > 0, finite; what is lost is lost of numbers near 1, which are not asked for. */
G2_INLINE Reals log_of_small(Reals x) {
  using Bits = simd::Mask<double>;
  const auto subnormal = x < 0x1p-1022;
  x = subnormal ? x * 0x1p54 : x;
  // x = m·2ᵉ with m from √½ to √2, and ln m = 2·artanh s
  const Bits e = ((Bits)x - 0x3fe6a09e667f3bcd) >> 52;
  const Reals f = (Reals)((Bits)x - (e << 52)) - 1;
  const Reals s = f / (f + 2), z = s * s;
  constexpr double kOdd[] = {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  // e as a real number, by way of the bits of 1.5·2⁵² + e
  const Reals power = (Reals)((Bits)(Reals{} + 0x1.8p52) + (subnormal ? e - 54 : e)) - 0x1.8p52;
  constexpr double kLn2 = 0x1.62e42fee00000p-1, kLn2Rest = 0x1.a39ef35793c76p-33;  // the first times any e is exact
  return power * kLn2 + (s * polynomial(kOdd, z) + power * kLn2Rest);
}

/** Where |p − ½| > 0.425, or p is nothing like a probability. */
G2_INLINE Reals tail_quantile(Reals p) {
  const Reals q = p - 0.5, tail = q < 0 ? p : 1 - p;
  const auto inside = tail > 0;
  const Reals r = simd::sqrt(-log_of_small(inside ? tail : 0.5 + Reals{}));
  Reals y = polynomial(kC, r - 1.6) / polynomial(kD, r - 1.6);
  if (simd::largest<double>(r) > 5) y = r > 5 ? polynomial(kE, r - 5) / polynomial(kF, r - 5) : y;
  y = inside ? y : tail == 0 ? Reals{} + __builtin_inf() : Reals{} + __builtin_nan("");
  return q < 0 ? -y : y;
}

/** Φ⁻¹ of at most kQuantiles numbers. */
constexpr size_t kQuantiles = 1024;
void quantiles_of(const double* p, size_t n, double* quantiles) {
  constexpr size_t w = simd::lanes<double>;
  uint32_t tails[kQuantiles + w];
  size_t count = 0;
  for (size_t i = 0; i < n; i += w) {
    const size_t m = n - i < w ? n - i : w;
    const Reals q = (m == w ? simd::load<double>(p + i) : simd::load_n<double>(p + i, m, 0.5)) - 0.5;
    const Reals r = 0.180625 - q * q;
    const Reals y = q * polynomial(kA, r) / polynomial(kB, r);
    if (m == w) simd::store(quantiles + i, y);
    else simd::store_n(quantiles + i, y, m);
    const auto central = (q <= 0.425) & (q >= -0.425);
    for (size_t l = 0; l < w; l++) {
      tails[count] = static_cast<uint32_t>(i + l);
      count += static_cast<size_t>(central[l] + 1);
    }
  }
  for (size_t t = 0; t < count; t += w) {
    const size_t m = count - t < w ? count - t : w;
    Reals x = {};
    for (size_t l = 0; l < w; l++) x[l] = l < m ? p[tails[t + l]] : 0.01;
    const Reals y = tail_quantile(x);
    for (size_t l = 0; l < m; l++) quantiles[tails[t + l]] = y[l];
  }
}

}  // namespace

}  // namespace g2rpo
