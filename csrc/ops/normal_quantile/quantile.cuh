// Φ⁻¹ of one number in f64, on the device and on the host: AS 241 in the order of quantile.h, with the logarithm of the platform.
#pragma once
#include <cmath>

#include "coefficients.h"

namespace g2rpo {

namespace {

__host__ __device__ inline double ratio_of(const double (&a)[8], const double (&b)[8], double x) {
  double y = a[7], z = b[7];
  for (int i = 6; i >= 0; i--) y = y * x + a[i], z = z * x + b[i];
  return y / z;
}

__host__ __device__ inline double quantile_of(double p) {
  // constexpr arrays of the host are none of the device's unless they are copied into the function
  constexpr double a[] = {kA[0], kA[1], kA[2], kA[3], kA[4], kA[5], kA[6], kA[7]};
  constexpr double b[] = {kB[0], kB[1], kB[2], kB[3], kB[4], kB[5], kB[6], kB[7]};
  constexpr double c[] = {kC[0], kC[1], kC[2], kC[3], kC[4], kC[5], kC[6], kC[7]};
  constexpr double d[] = {kD[0], kD[1], kD[2], kD[3], kD[4], kD[5], kD[6], kD[7]};
  constexpr double e[] = {kE[0], kE[1], kE[2], kE[3], kE[4], kE[5], kE[6], kE[7]};
  constexpr double f[] = {kF[0], kF[1], kF[2], kF[3], kF[4], kF[5], kF[6], kF[7]};
  const double q = p - 0.5;
  if (fabs(q) <= 0.425) return q * ratio_of(a, b, 0.180625 - q * q);
  const double tail = q < 0 ? p : 1 - p;
  double y;
  if (tail > 0) {
    const double r = sqrt(-log(tail));
    y = r <= 5 ? ratio_of(c, d, r - 1.6) : ratio_of(e, f, r - 5);
  } else {
    y = tail == 0 ? HUGE_VAL : NAN;
  }
  return q < 0 ? -y : y;
}

}  // namespace

}  // namespace g2rpo
