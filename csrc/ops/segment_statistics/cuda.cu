#include "../../backends/cuda/rows.h"
#include "op.h"

namespace g2rpo {

namespace {

struct Arguments {
  const double* values;
  const int32_t* starts;
  size_t count, segments;
  double *mean, *variance, *minimum, *maximum;
  cuda::Refusal refusal;
};

/** By all lanes: the smallest of all teams' numbers. */
template <class Rows> __device__ double smallest(double x, double (&shared)[32]) {
  for (int by = 16; by > 0; by /= 2) x = fmin(x, __shfl_xor_sync(~0u, x, by));
  if constexpr (Rows::Team > 32) {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < Rows::Team / 32 ? shared[threadIdx.x % 32] : x;
    for (int by = 16; by > 0; by /= 2) x = fmin(x, __shfl_xor_sync(~0u, x, by));
    __syncthreads();
  }
  return x;
}

/** A team to a segment; Rows::V is 0. */
template <class Rows> __global__ void __launch_bounds__(Rows::kBlock) statistics(Arguments a) {
  __shared__ double sums[2][2][32], least[32];
  const size_t s = Rows::row();
  if (s >= a.segments) return;
  const int32_t begin = a.starts[s], end = a.starts[s + 1];
  const bool rises = 0 <= begin && begin <= end && static_cast<size_t>(end) <= a.count && (s > 0 || begin == 0) &&
                     (s + 1 < a.segments || static_cast<size_t>(end) == a.count);
  if (!rises) return a.refusal.at(0);
  const double* x = a.values + begin;
  const size_t n = static_cast<size_t>(end - begin);
  double total[2] = {}, low = INFINITY, high = -INFINITY;  // their sum, and how many are NaN
  Rows::each(n, [&](int, size_t i) {
    const double v = x[i];
    total[0] += v;
    total[1] += v != v;
    low = fmin(low, v), high = fmax(high, v);
  });
  Rows::sums(total, sums, 0);
  low = smallest<Rows>(low, least), high = -smallest<Rows>(-high, least);
  double mean = total[0] / static_cast<double>(n), squares[2] = {};
  // equal values have no spread at all, whatever their sum rounds to
  if (low == high) mean = low;
  else {
    Rows::each(n, [&](int, size_t i) { squares[0] = fma(x[i] - mean, x[i] - mean, squares[0]); });
    Rows::sums(squares, sums, 1);
  }
  if (Rows::lane() != 0) return;
  const bool none = n == 0 || total[1] > 0;
  a.mean[s] = none ? NAN : mean;
  a.variance[s] = none ? NAN : squares[0] / static_cast<double>(n);
  a.minimum[s] = none ? NAN : low;
  a.maximum[s] = none ? NAN : high;
}

/** Where there is no segment there must be no value. */
__global__ void check_none(Arguments a) {
  if (a.starts[0] != 0 || a.count != 0) a.refusal.at(0);
}

}  // namespace

KERNEL(cuda, SegmentStatistics) {
  const size_t segments = op.segmentStarts.size - 1, count = op.values.size;
  const Arguments a{op.values.data, op.segmentStarts.data, count, segments, op.mean.data, op.variance.data, op.minimum.data, op.maximum.data,
                    cuda::refusal(stream, "INVALID_ARGUMENT", "segment_statistics: segmentStarts must rise from 0 to the number of values")};
  const auto start = [&]<class Rows>(Rows) {
    cuda::launch(stream, statistics<Rows>, cuda::blocks_for(segments, Rows::kRows), Rows::kBlock, a);
  };
  // teams for the mean size: of the shape alone
  if (segments == 0) cuda::launch(stream, check_none, 1, 1, a);
  else if (count / segments <= 256) start(cuda::RowTeam<32, 1, 0>{});
  else start(cuda::RowTeam<1024, 1, 0>{});
}

}  // namespace g2rpo
