#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kBlock = 16384;
constexpr int kAhead = 4;  // loads of a thread that are under way at a time

/** Of [begin, end), the share of this thread. */
template <int W, class T> __device__ double squares_of(const T* x, size_t begin, size_t end) {
  const size_t step = blockDim.x * W;
  double sum = 0;
  for (size_t i = begin + threadIdx.x * W; i < end; i += kAhead * step) {
    cuda::Pack<T, W> held[kAhead] = {};
    for (int k = 0; k < kAhead; k++) {
      const size_t at = i + k * step;
      if (at + W <= end) held[k] = cuda::load<W>(x + at);
      else
        for (int w = 0; w < W; w++)
          if (at + w < end) held[k].x[w] = x[at + w];
    }
    for (int k = 0; k < kAhead; k++)
      for (int w = 0; w < W; w++) {
        const double v = static_cast<double>(cuda::widened(held[k].x[w]));
        sum = fma(v, v, sum);
      }
  }
  return sum;
}

template <class T> __global__ void squares(cuda::Blocks x, double* partials) {
  __shared__ double shared[32];
  const auto [k, begin, end] = x.part(blockIdx.x);
  const T* values = x.data<T>(0, k);
  const double sum = cuda::block_sum(cuda::aligned(values) ? squares_of<cuda::kWide<T>>(values, begin, end) : squares_of<1>(values, begin, end), shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/** One block: thread t takes the partial sums t, t + threads, …, so that the order depends on their number alone. */
__global__ void total(const double* partials, size_t n, double* sum) {
  __shared__ double shared[32];
  double own = 0;
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) own += partials[i];
  own = cuda::block_sum(own, shared);
  if (threadIdx.x == 0) *sum = own;
}

}  // namespace

KERNEL_WEIGHT(cuda, SquaredNorm) {
  const cuda::Lists lists(stream, kBlock, op.x);
  cuda::Temporary<double> partials(stream, lists.total());
  if (lists.total() > 0)
    cuda::launch(stream, squares<W>, static_cast<unsigned>(lists.total()), cuda::kThreads, lists.blocks(), partials.get());
  cuda::launch(stream, total, 1, 1024, partials.get(), lists.total(), op.sum.data);
}

}  // namespace g2rpo
