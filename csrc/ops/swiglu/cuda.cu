#include "../../backends/cuda/vectors.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> __device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

struct Forward {
  template <class T> __device__ void operator()(const T (&in)[2], T (&out)[1]) const { out[0] = in[0] * sigmoid(in[0]) * in[1]; }
};

struct Backward {
  template <class T> __device__ void operator()(const T (&in)[3], T (&out)[2]) const {
    const T dy = in[0], g = in[1], u = in[2], s = sigmoid(g);
    out[0] = dy * u * s * fma(g, 1 - s, T(1));
    out[1] = dy * g * s;
  }
};

}  // namespace

KERNEL_REAL(cuda, SwiGlu) {
  const size_t n = op.gate.size;
  if (op.narrow_y) cuda::map<bf16, 2, 1>(stream, n, {{op.narrow_gate, op.narrow_up}, {op.narrow_y}}, Forward{});
  else cuda::map<T, 2, 1>(stream, n, {{op.gate.data, op.up.data}, {op.y.data}}, Forward{});
}

KERNEL_REAL(cuda, SwiGluBackward) {
  const size_t n = op.dY.size;
  if (op.narrow_dY) cuda::map<bf16, 3, 2>(stream, n, {{op.narrow_dY, op.narrow_gate, op.narrow_up}, {op.narrow_dGate, op.narrow_dUp}}, Backward{});
  else cuda::map<T, 3, 2>(stream, n, {{op.dY.data, op.gate.data, op.up.data}, {op.dGate.data, op.dUp.data}}, Backward{});
}

}  // namespace g2rpo
