#include "../../backends/cuda/device.h"
#include "op.h"

namespace g2rpo {

namespace {

using cuda::kThreads;

/** A block to a row. */
template <class T> __global__ void forward(const T* x, const T* weight, T epsilon, size_t width, T* y, T* rstd) {
  __shared__ T partial[32];
  x += blockIdx.x * width;
  y += blockIdx.x * width;
  T squares = 0;
  for (size_t i = threadIdx.x; i < width; i += blockDim.x) squares = fma(x[i], x[i], squares);
  const T r = 1 / sqrt(cuda::block_sum(squares, partial) / static_cast<T>(width) + epsilon);
  for (size_t i = threadIdx.x; i < width; i += blockDim.x) y[i] = weight[i] * (x[i] * r);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
}

template <class T>
__global__ void backward(const T* dY, const T* x, const T* weight, const T* rstd, const T* residual, size_t width, T* dX) {
  __shared__ T partial[32];
  const size_t at = blockIdx.x * width;
  const T r = rstd[blockIdx.x];
  T dot = 0;
  for (size_t i = threadIdx.x; i < width; i += blockDim.x) dot = fma(dY[at + i] * weight[i], x[at + i] * r, dot);
  const T mean = cuda::block_sum(dot, partial) / static_cast<T>(width);
  for (size_t i = threadIdx.x; i < width; i += blockDim.x) {
    const T d = r * (dY[at + i] * weight[i] - x[at + i] * r * mean);
    dX[at + i] = residual ? residual[at + i] + d : d;
  }
}

constexpr size_t kRows = 64;  // of a partial sum, however many blocks there are

/** partials[b][i]: of rows [b · kRows, (b + 1) · kRows). */
template <class T>
__global__ void weight_partials(const T* dY, const T* x, const T* rstd, size_t rows, size_t width, T* partials) {
  const size_t i = cuda::global_index(), begin = blockIdx.y * kRows;
  if (i >= width) return;
  T sum = 0;
  for (size_t r = begin; r < rows && r < begin + kRows; r++) sum = fma(dY[r * width + i], x[r * width + i] * rstd[r], sum);
  partials[blockIdx.y * width + i] = sum;
}

template <class T> __global__ void add_partials(const T* partials, size_t count, size_t width, T* dWeight) {
  const size_t i = cuda::global_index();
  if (i >= width) return;
  T sum = 0;
  for (size_t b = 0; b < count; b++) sum += partials[b * width + i];
  dWeight[i] += sum;
}

/** Threads of a block for a row: whole warps, no more than there are elements. */
unsigned threads_for(size_t width) { return width >= kThreads ? kThreads : static_cast<unsigned>((width + 31) / 32 * 32); }

}  // namespace

KERNEL_REAL(cuda, RmsNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm: D must be at least 1; got 0");
  const auto rows = static_cast<unsigned>(op.x.size / width);
  if (rows == 0) return;
  cuda::launch(stream, forward<T>, rows, threads_for(width), op.x.data, op.weight.data, static_cast<T>(op.epsilon), width,
                                                                   op.y.data, op.rstd.data);
}

KERNEL_REAL(cuda, RmsNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width, count = (rows + kRows - 1) / kRows;
  if (rows == 0) return;
  if (op.dWeight) {  // before dX, which may be dY
    cuda::Temporary<T> partials(stream, count * width);
    const dim3 grid(cuda::blocks_for(width), static_cast<unsigned>(count));
    cuda::launch(stream, weight_partials<T>, grid, kThreads, op.dY.data, op.x.data, op.rstd.data, rows, width, partials.get());
    cuda::launch(stream, add_partials<T>, cuda::blocks_for(width), kThreads, partials.get(), count, width, op.dWeight.data);
  }
  cuda::launch(stream, backward<T>, static_cast<unsigned>(rows), threads_for(width), op.dY.data, op.x.data, op.weight.data, op.rstd.data,
                                                                            op.residual.data, width, op.dX.data);
}

}  // namespace g2rpo
