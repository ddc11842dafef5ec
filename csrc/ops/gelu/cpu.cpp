// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"

namespace g2rpo {

namespace {
using namespace simd;

constexpr double kRoot = 0.79788456080286535588;         // √(2/π)
constexpr double kCube = 0.044715;
constexpr double kDensity = 0.39894228040143267794;      // 1/√(2π)
constexpr double kRootHalf = 0.70710678118654752440;

/** (1 + tanh u)/2 = 1/(1 + e⁻²ᵘ) of u = √(2/π)(x + 0.044715 x³): no cancellation where tanh nears −1. */
template <class T> G2_INLINE Vec<T> tanh_gate(Vec<T> x) {
  return sigmoid(x * fma(x * x, splat(T(2 * kRoot * kCube)), splat(T(2 * kRoot))));
}

/** Φ(x), the standard normal distribution, and its density. */
template <class T> struct Normal {
  Vec<T> below, density;
};
/**
 * 1 − Φ(|x|) = e^(−x²/2) · t · P(t), t = 1/(1 + 0.26 |x|): P is a minimax fit of degree 8 on |x| ≤ 14 with relative error
 * 2.5e-8, so that Φ is good to 2e-7 and its lower tail to a few roundings of x²/2.
 */
G2_INLINE Normal<float> normal(Vec<float> x) {
  const Vec<float> size = max(x, -x);
  const Vec<float> t = 1 / fma(size, splat(0.26f), splat(1.0f));
  const float c[] = {0.030504790507837123f, -0.1528284062553039f, 0.2514905079050592f, -0.15094816019677185f, 0.16094735806920812f,
                     0.05102787204501033f,  0.10303020996866463f, 0.10301675604741371f, 0.10375905953263793f};
  Vec<float> p = splat(c[0]);
  for (int i = 1; i < 9; i++) p = fma(p, t, splat(c[i]));
  const Vec<float> e = exp(x * x * -0.5f);
  const Vec<float> tail = e * t * p;
  return {x > 0 ? 1 - tail : tail, e * static_cast<float>(kDensity)};
}
G2_INLINE Normal<double> normal(Vec<double> x) {
  Vec<double> below;
  for (int i = 0; i < lanes<double>; i++) below[i] = 0.5 * __builtin_erfc(x[i] * -kRootHalf);
  return {below, exp(x * x * -0.5) * kDensity};
}

}  // namespace

KERNEL_REAL(cpu, GeluTanh) {
  for_elements<T>(stream, op.y.size, {op.x.data}, {op.y.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> x = at.load(op.x.data + i);
    at.store(op.y.data + i, x * tanh_gate<T>(x));
  });
}

KERNEL_REAL(cpu, GeluTanhBackward) {
  for_elements<T>(stream, op.dX.size, {op.dY.data, op.x.data}, {op.dX.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> x = at.load(op.x.data + i), s = tanh_gate<T>(x);
    // beyond 32 the slope is 0 or 1 in any precision; the bound keeps x² from overflowing
    const Vec<T> near = min(max(x, splat(T(-32))), splat(T(32)));
    const Vec<T> slope = near * fma(near * near, splat(T(6 * kRoot * kCube)), splat(T(2 * kRoot)));
    at.store(op.dX.data + i, at.load(op.dY.data + i) * fma(s * (1 - s), slope, s));
  });
}

KERNEL_REAL(cpu, GeluErf) {
  for_elements<T>(stream, op.y.size, {op.x.data}, {op.y.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> x = at.load(op.x.data + i);
    at.store(op.y.data + i, x * normal(x).below);
  });
}

KERNEL_REAL(cpu, GeluErfBackward) {
  for_elements<T>(stream, op.dX.size, {op.dY.data, op.x.data}, {op.dX.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> x = at.load(op.x.data + i);
    const Normal<T> n = normal(x);
    at.store(op.dX.data + i, at.load(op.dY.data + i) * fma(x, n.density, n.below));
  });
}

}  // namespace g2rpo
