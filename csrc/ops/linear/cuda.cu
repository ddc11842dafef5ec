#include "../../backends/cuda/bf16_gemm.h"
#include "../../backends/cuda/rows.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kRows = 64;  // of a partial sum

/** partials[b][j] = Σ over rows [b · kRows, (b + 1) · kRows) of dY. */
template <class T, class D> __global__ void column_sums(const D* dY, size_t m, size_t n, T* partials) {
  const size_t j = static_cast<size_t>(blockIdx.y) * blockDim.x + threadIdx.x, begin = static_cast<size_t>(blockIdx.x) * kRows;
  if (j >= n) return;
  T sum = 0;
  for (size_t r = begin; r < m && r < begin + kRows; r++) sum += cuda::widened(dY[r * n + j]);
  partials[blockIdx.x * n + j] = sum;
}

template <class T, class W, class A> void multiply(Stream& stream, const Linear<T, W>& op, const A* x) {
  cuda::ProductOf<A, W> p{.m = op.x.dim[0], .n = op.weight.dim[0], .k = op.weight.dim[1], .a = x, .b = op.weight.data, .a_along = true, .b_along = true,
                          .c = op.y.data, .bias = op.bias.data, .residual = op.residual.data};
  if constexpr (sizeof(W) == 2) p.narrow_c = op.narrow_y;
  cuda::multiply(stream, p);
}

template <class T, class W, class A> void multiply(Stream& stream, const LinearBackwardInput<T, W>& op, const A* dY) {
  cuda::ProductOf<A, W> p{.m = op.dY.dim[0], .n = op.weight.dim[1], .k = op.dY.dim[1], .a = dY, .b = op.weight.data, .a_along = true, .b_along = false,
                          .c = op.dX.data, .accumulate = op.accumulate};
  if constexpr (sizeof(W) == 2) p.narrow_c = op.narrow_dX;
  cuda::multiply(stream, p);
}

}  // namespace

KERNEL_WEIGHT(cuda, Linear) {
  if (op.packed) return fail(stream, "INVALID_ARGUMENT", "linear: packed is for the CPU; a GPU reads weights as they are");
  if constexpr (sizeof(W) == 2)
    if (op.narrow_x) return multiply(stream, op, op.narrow_x);
  multiply(stream, op, op.x.data);
}

KERNEL_WEIGHT(cuda, LinearBackwardInput) {
  if constexpr (sizeof(W) == 2)
    if (op.narrow_dY) return multiply(stream, op, op.narrow_dY);
  multiply(stream, op, op.dY.data);
}

KERNEL_REAL(cuda, LinearBackwardWeight) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.x.dim[1];
  if (op.dWeight) {
    const auto multiply_as = [&]<class P>(P, const auto* dY, const auto* x) {
      cuda::multiply(stream, P{.m = n, .n = k, .k = m, .a = dY, .b = x, .a_along = false, .b_along = false, .c = op.dWeight.data, .accumulate = !op.overwrite});
    };
    if constexpr (sizeof(T) == 4) {
      if (op.narrow_dY) multiply_as(cuda::TensorProduct<bf16, bf16>{}, op.narrow_dY, op.narrow_x);
      else if (op.in_bf16) multiply_as(cuda::TensorProduct<T, T>{}, op.dY.data, op.x.data);
      else multiply_as(cuda::Product<T>{}, op.dY.data, op.x.data);
    } else {
      multiply_as(cuda::Product<T>{}, op.dY.data, op.x.data);
    }
  }
  if (!op.dBias || m * n == 0) return;
  const unsigned count = cuda::blocks_for(m, kRows);
  cuda::Temporary<T> partials(stream, count * n);
  const auto sums = [&]<class D>(const D* dY) { cuda::launch(stream, column_sums<T, D>, dim3(count, cuda::blocks_for(n)), cuda::kThreads, dY, m, n, partials.get()); };
  if (op.dY.data || sizeof(T) != 4) sums(op.dY.data);
  else if constexpr (sizeof(T) == 4) sums(op.narrow_dY);
  cuda::add_partials<T>(stream, partials.get(), count, n, op.dBias.data);
}

}  // namespace g2rpo
