#include "../../backends/cuda/device.h"
#include "op.h"
#include "quantile.cuh"

namespace g2rpo {

namespace {

__global__ void quantiles(const double* p, size_t n, double* out) {
  const size_t i = cuda::global_index();
  if (i < n) out[i] = quantile_of(p[i]);
}

}  // namespace

KERNEL(cuda, NormalQuantile) {
  if (op.p.size == 0) return;
  cuda::launch(stream, quantiles, cuda::blocks_for(op.p.size), cuda::kThreads, op.p.data, op.p.size, op.quantiles.data);
}

}  // namespace g2rpo
