// Φ⁻¹ of vectors, in f64. For hot files. No multiply-add is fused, so that every instruction set gives the same bits.
#pragma once
#include "../../backends/cpu/simd.h"

namespace g2rpo {

namespace {

using Reals = simd::Vec<double>;

template <int N> G2_INLINE Reals polynomial(const double (&c)[N], Reals x) {
  Reals y = simd::splat(c[N - 1]);
#pragma GCC unroll 8
  for (int i = N - 2; i >= 0; i--) y = y * x + c[i];
  return y;
}

// Rational approximations of AS 241: numerator and denominator for the centre, the near and the far tail.
constexpr double kA[] = {3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
                         4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3};
constexpr double kB[] = {1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
                         2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4, 5.2264952788528545610e+3};
constexpr double kC[] = {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
                         1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr double kD[] = {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                         1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9};
constexpr double kE[] = {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
                         2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr double kF[] = {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
                         7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15};

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
