#include "../../backends/cuda/vectors.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr double kRoot = 0.79788456080286535588;     // √(2/π)
constexpr double kCube = 0.044715;
constexpr double kDensity = 0.39894228040143267794;  // 1/√(2π)
constexpr double kRootHalf = 0.70710678118654752440;

/** (1 + tanh u)/2 = 1/(1 + e⁻²ᵘ) of u = √(2/π)(x + 0.044715 x³): no cancellation where tanh nears −1. */
template <class T> __device__ T tanh_gate(T x) { return 1 / (1 + exp(-x * fma(x * x, T(2 * kRoot * kCube), T(2 * kRoot)))); }

/** Φ(x), the standard normal distribution. */
template <class T> __device__ T below(T x) { return T(0.5) * erfc(-x * T(kRootHalf)); }

struct ForwardTanh {
  template <class T> __device__ void operator()(const T (&x)[1], T (&y)[1]) const { y[0] = x[0] * tanh_gate(x[0]); }
};
struct BackwardTanh {
  template <class T> __device__ void operator()(const T (&in)[2], T (&out)[1]) const {
    const T s = tanh_gate(in[1]);
    // beyond 32 the slope is 0 or 1 in any precision; the bound keeps x² from overflowing
    const T near = in[1] < T(-32) ? T(-32) : in[1] > T(32) ? T(32) : in[1];
    const T slope = near * fma(near * near, T(6 * kRoot * kCube), T(2 * kRoot));
    out[0] = in[0] * fma(s * (1 - s), slope, s);
  }
};
struct ForwardErf {
  template <class T> __device__ void operator()(const T (&x)[1], T (&y)[1]) const { y[0] = x[0] * below(x[0]); }
};
struct BackwardErf {
  template <class T> __device__ void operator()(const T (&in)[2], T (&out)[1]) const {
    const T x = in[1];
    out[0] = in[0] * fma(x, exp(x * x * T(-0.5)) * T(kDensity), below(x));
  }
};

}  // namespace

KERNEL_REAL(cuda, GeluTanh) { cuda::map_either<1, 1, T>(stream, op.x.size, {op.x.data}, {op.y.data}, {op.narrow_y}, ForwardTanh{}); }
KERNEL_REAL(cuda, GeluTanhBackward) { cuda::map_either<2, 1, T>(stream, op.x.size, {op.dY.data, op.x.data}, {op.dX.data}, {op.narrow_dX}, BackwardTanh{}); }
KERNEL_REAL(cuda, GeluErf) { cuda::map_either<1, 1, T>(stream, op.x.size, {op.x.data}, {op.y.data}, {op.narrow_y}, ForwardErf{}); }
KERNEL_REAL(cuda, GeluErfBackward) { cuda::map_either<2, 1, T>(stream, op.x.size, {op.dY.data, op.x.data}, {op.dX.data}, {op.narrow_dX}, BackwardErf{}); }

}  // namespace g2rpo
