// Products of which one side is as narrow as the rank: they wait for memory, and read what is wide once for sixteen of the rank.
#include "../../backends/cuda/rows.h"
#include "op.h"

namespace g2rpo {

namespace {

constexpr int kRanks = 16;     // of the rank that a thread keeps sums of
constexpr int kTogether = 4;   // rows that a thread has in registers
constexpr unsigned kWarps = cuda::kThreads / 32;

template <class T, int W> __device__ cuda::Pack<T, W> scaled_sum(const cuda::Pack<T, W>& x, T by, cuda::Pack<T, W> sum) {
  for (int w = 0; w < W; w++) sum.x[w] = fma(x.x[w], by, sum.x[w]);
  return sum;
}

template <class T> __global__ void transpose(const T* from, size_t rows, size_t columns, T* to) {
  const size_t i = cuda::global_index();
  if (i < rows * columns) to[i % columns * rows + i / columns] = from[i];
}

/** narrow[m][r] = scale · Σ over k of x[m][k] · a[r][k]: a warp to kTogether rows, block y to kRanks. */
template <class T, int W>
__global__ void __launch_bounds__(cuda::kThreads) project(const T* x, const T* a, size_t rows, size_t width, size_t rank, T scale, T* narrow) {
  const size_t first = (static_cast<size_t>(blockIdx.x) * kWarps + threadIdx.x / 32) * kTogether, from = blockIdx.y * kRanks, lane = threadIdx.x % 32;
  if (first >= rows) return;
  T sums[kTogether][kRanks] = {};
  for (size_t k = lane * W; k < width; k += 32 * W) {
    cuda::Pack<T, W> row[kTogether] = {};
    for (int m = 0; m < kTogether; m++)
      if (first + m < rows) row[m] = cuda::load<W>(x + (first + m) * width + k);
    for (int r = 0; r < kRanks; r++) {
      if (from + r >= rank) continue;
      const auto factor = cuda::load<W>(a + (from + r) * width + k);
      for (int m = 0; m < kTogether; m++)
        for (int w = 0; w < W; w++) sums[m][r] = fma(row[m].x[w], factor.x[w], sums[m][r]);
    }
  }
  // all lanes' sums, one place at a time; unrolled by hand, so that they stay in registers
  [&]<int... I>(std::integer_sequence<int, I...>) {
    const auto finish = [&](int m, int r, T own) {
      const T sum = cuda::warp_sum(own);
      if (lane == 0 && first + m < rows && from + r < rank) narrow[(first + m) * rank + from + r] = sum * scale;
    };
    (finish(I / kRanks, I % kRanks, sums[I / kRanks][I % kRanks]), ...);
  }(std::make_integer_sequence<int, kTogether * kRanks>{});
}

/** How the sums over rows are laid out: [rank, width], or the other way round. */
enum class Layout { by_rank, by_column };

constexpr unsigned kColumns = 128;  // threads of a block, a pack of columns each

/** partials[x]: Σ over the rows m of part x of narrow[m][r] · wide[m][c]; block y holds which columns, z which of the rank. */
template <class T, int W, Layout layout>
__global__ void __launch_bounds__(kColumns) gather(const T* wide, const T* narrow, size_t rows, size_t width, size_t rank, size_t together, T* partials) {
  __shared__ T stage[32][kRanks];
  const size_t column = (static_cast<size_t>(blockIdx.y) * kColumns + threadIdx.x) * W, from = blockIdx.z * kRanks;
  const size_t begin = blockIdx.x * together, end = begin + together < rows ? begin + together : rows;
  cuda::Pack<T, W> sums[kRanks] = {};
  for (size_t at = begin; at < end; at += 32) {
    __syncthreads();
    for (size_t i = threadIdx.x; i < 32 * kRanks; i += kColumns) {
      const size_t m = at + i / kRanks, r = from + i % kRanks;
      stage[i / kRanks][i % kRanks] = m < end && r < rank ? narrow[m * rank + r] : T(0);
    }
    __syncthreads();
    if (column >= width) continue;
    for (size_t m = 0; m < 32 && at + m < end; m += kTogether) {
      cuda::Pack<T, W> row[kTogether] = {};
      for (int i = 0; i < kTogether; i++)
        if (at + m + i < end) row[i] = cuda::load<W>(wide + (at + m + i) * width + column);
      for (int i = 0; i < kTogether; i++)
        for (int r = 0; r < kRanks; r++) sums[r] = scaled_sum<T, W>(row[i], stage[m + i][r], sums[r]);
    }
  }
  if (column >= width) return;
  T* out = partials + blockIdx.x * width * rank;
  for (int r = 0; r < kRanks; r++)
    for (int w = 0; w < W; w++)
      if (from + r < rank) out[layout == Layout::by_rank ? (from + r) * width + column + w : (column + w) * rank + from + r] = sums[r].x[w];
}

/** merged = base + scale · b · a: kTogether rows and a pack of columns to a thread. */
template <class T, class B, int W>
__global__ void __launch_bounds__(kColumns) merge(const B* base, const T* a, const T* b, size_t rows, size_t width, size_t rank, T scale, T* merged) {
  const size_t column = (static_cast<size_t>(blockIdx.y) * kColumns + threadIdx.x) * W, first = blockIdx.x * kTogether;
  if (column >= width) return;
  cuda::Pack<T, W> sums[kTogether] = {};
  for (size_t r = 0; r < rank; r++) {
    const auto factor = cuda::load<W>(a + r * width + column);
    for (int n = 0; n < kTogether; n++)
      if (first + n < rows) sums[n] = scaled_sum<T, W>(factor, b[(first + n) * rank + r] * scale, sums[n]);
  }
  for (int n = 0; n < kTogether; n++) {
    if (first + n >= rows) return;
    const size_t at = (first + n) * width + column;
    const auto held = cuda::load<W>(base + at);
    for (int w = 0; w < W; w++) sums[n].x[w] += cuda::widened(held.x[w]);
    cuda::store<W>(merged + at, sums[n]);
  }
}

template <class T> void project_rows(Stream& stream, const T* x, const T* a, size_t rows, size_t width, size_t rank, double scale, T* narrow) {
  cuda::with_pack<T>(width, cuda::aligned(x, a), [&]<int W>(std::integral_constant<int, W>) {
    const dim3 grid(cuda::blocks_for(rows, kWarps * kTogether), cuda::blocks_for(rank, kRanks));
    cuda::launch(stream, project<T, W>, grid, cuda::kThreads, x, a, rows, width, rank, scale, narrow);
  });
}

/** out += narrowᵀ · wide, in parts of rows that their number alone decides. */
template <class T, Layout layout> void add_products(Stream& stream, const T* wide, const T* narrow, size_t rows, size_t width, size_t rank, T* out) {
  const size_t together = rows > 64 * 128 ? (rows + 63) / 64 : 128;
  const unsigned count = cuda::blocks_for(rows, together);
  cuda::Temporary<T> partials(stream, count * width * rank);
  cuda::with_pack<T>(width, cuda::aligned(wide), [&]<int W>(std::integral_constant<int, W>) {
    const dim3 grid(count, cuda::blocks_for(width, kColumns * W), cuda::blocks_for(rank, kRanks));
    cuda::launch(stream, gather<T, W, layout>, grid, kColumns, wide, narrow, rows, width, rank, together, partials.get());
  });
  cuda::add_partials<T>(stream, partials.get(), count, width * rank, out);
}

template <class T, class W> void merge_rows(Stream& stream, const LoraMerge<T, W>& op) {
  const size_t n = op.base.dim[0], k = op.base.dim[1], r = op.a.dim[0];
  if (n * k == 0) return;
  cuda::with_pack<T>(k, cuda::aligned(op.base.data, op.a.data, op.merged.data), [&]<int Pack>(std::integral_constant<int, Pack>) {
    const dim3 grid(cuda::blocks_for(n, kTogether), cuda::blocks_for(k, kColumns * Pack));
    cuda::launch(stream, merge<T, W, Pack>, grid, kColumns, op.base.data, op.a.data, op.b.data, n, k, r, op.scale, op.merged.data);
  });
}

}  // namespace

KERNEL_WEIGHT(cuda, LoraMerge) { merge_rows<T>(stream, op); }

KERNEL_REAL(cuda, LoraBackward) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.x.dim[1], r = op.a.dim[0];
  if (m * r == 0) return;
  cuda::Temporary<T> narrow(stream, m * r), turned(stream, n * r);
  if (n > 0) {
    project_rows<T>(stream, op.x.data, op.a.data, m, k, r, op.scale, narrow.get());  // x·aᵀ, for dB
    add_products<T, Layout::by_column>(stream, op.dY.data, narrow.get(), m, n, r, op.dB.data);
  }
  if (k == 0) return;
  if (n > 0) cuda::launch(stream, transpose<T>, cuda::blocks_for(n * r), cuda::kThreads, op.b.data, n, r, turned.get());
  project_rows<T>(stream, op.dY.data, turned.get(), m, n, r, op.scale, narrow.get());  // dY·b, for dA
  add_products<T, Layout::by_rank>(stream, op.x.data, narrow.get(), m, k, r, op.dA.data);
}

}  // namespace g2rpo
