#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr size_t kBlock = 8192;

template <class T> __global__ void squares(cuda::Blocks x, double* partials) {
  __shared__ double shared[32];
  const auto [k, begin, end] = x.part(blockIdx.x);
  const T* values = static_cast<const T*>(x.items[k].data);
  double sum = 0;
  for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double v = static_cast<double>(values[i]);
    sum = fma(v, v, sum);
  }
  sum = cuda::block_sum(sum, shared);
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

KERNEL_REAL(cuda, SquaredNorm) {
  const cuda::Lists lists(stream, op.x.items, op.x.size, kBlock);
  cuda::Temporary<double> partials(stream, lists.total());
  if (lists.total() > 0)
    cuda::launch(stream, squares<T>, static_cast<unsigned>(lists.total()), cuda::kThreads, lists.blocks(), partials.get());
  cuda::launch(stream, total, 1, 1024, partials.get(), lists.total(), op.sum.data);
}

}  // namespace g2rpo
