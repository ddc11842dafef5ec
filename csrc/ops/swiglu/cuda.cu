#include "../../backends/cuda/device.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> __device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

template <class T> __global__ void forward(const T* gate, const T* up, size_t n, T* y) {
  const size_t i = cuda::global_index();
  if (i < n) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

template <class T> __global__ void backward(const T* dY, const T* gate, const T* up, size_t n, T* dGate, T* dUp) {
  const size_t i = cuda::global_index();
  if (i >= n) return;
  const T dy = dY[i], g = gate[i], u = up[i], s = sigmoid(g);
  dGate[i] = dy * u * s * fma(g, 1 - s, T(1));
  dUp[i] = dy * g * s;
}

}  // namespace

KERNEL_REAL(cuda, SwiGlu) {
  const size_t n = op.y.size;
  if (n == 0) return;
  cuda::launch(stream, forward<T>, cuda::blocks_for(n), cuda::kThreads, op.gate.data, op.up.data, n, op.y.data);
}

KERNEL_REAL(cuda, SwiGluBackward) {
  const size_t n = op.dY.size;
  if (n == 0) return;
  cuda::launch(stream, backward<T>, cuda::blocks_for(n), cuda::kThreads, op.dY.data, op.gate.data, op.up.data, n, op.dGate.data,
                                                                               op.dUp.data);
}

}  // namespace g2rpo
