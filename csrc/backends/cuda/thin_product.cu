#include "thin_product.h"

namespace g2rpo::cuda {

namespace {

constexpr int kColumns = kThinColumns;  // 32 of each of four warps
constexpr int kBlock = 128;
constexpr int kStep = 32;      // of k, of a load: a lane has 8 neighbours of it
constexpr int kAhead = 4;      // steps on their way at a time
constexpr int kChunk = 256;    // of k, of the rows in shared memory; two of them
constexpr int kRowPieces = kChunk / 8 + 1;  // in shared memory: rows behind each other begin four banks apart
constexpr int kOctets = 4;     // of columns, of a warp

struct Thin {
  const bf16* a;
  size_t m, k, stride, part;
  ThinProduct::Matrix matrices[ThinProduct::kMost];
  Product<float> to;
};

/** Where a block works: its matrix, the first column in it, and the first column of C. */
struct Place {
  ThinProduct::Matrix matrix;
  size_t first, column;
  __device__ explicit Place(const Thin& p) : matrix(p.matrices[0]), first(size_t{blockIdx.x} * kColumns), column(first) {
#pragma unroll
    for (size_t i = 1; i < ThinProduct::kMost; i++) {
      const size_t columns = (matrix.n + kColumns - 1) / kColumns * kColumns;
      if (first < columns) continue;
      first -= columns, column -= columns - matrix.n, matrix = p.matrices[i];
    }
  }
};

/** Tiles × 16 rows. Of a step of k a lane takes 16 bytes of a column; the rows lie so that it gets the same numbers of them (place_of). */
template <int Tiles> __global__ void __launch_bounds__(kBlock, Tiles == 4 ? 2 : 3) multiply_thin_rows(Thin p) {
  const Place place(p);
  const size_t begin = blockIdx.y * p.part, end = begin + p.part < p.k ? begin + p.part : p.k;
  const int length = static_cast<int>(end - begin), thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, along = lane % 4 * 8;
  const int fetched = (length + kStep - 1) / kStep * kStep;  // a row has zeros behind its end
  const bf16* b[kOctets];
#pragma unroll
  for (int c = 0; c < kOctets; c++) {
    // what is beyond the end is computed from the last and never written
    const size_t column = place.first + static_cast<size_t>(32 * warp + 8 * c + lane / 4);
    b[c] = place.matrix.b + (column < place.matrix.n ? column : place.matrix.n - 1) * p.k + begin + static_cast<size_t>(along);
  }
  uint4 w[kAhead][kOctets];
  const auto load_step = [&](int slot, int at) {
#pragma unroll
    for (int c = 0; c < kOctets; c++) w[slot][c] = load_once(b[c] + at, at + along < length);
  };
  const auto rows_of = [&](int chunk) { return dynamic_shared + chunk % 2 * Tiles * 16 * kRowPieces; };
  const auto fetch_chunk = [&](int chunk) {
    constexpr int pieces = kChunk / 8;
    const int piece = thread % pieces, at = chunk * kChunk + piece * 8;
#pragma unroll 2
    for (int row = thread / pieces; row < 16 * Tiles; row += kBlock / pieces) {
      const bool inside = row < static_cast<int>(p.m) && at < fetched;
      fetch(rows_of(chunk) + row * kRowPieces + piece, inside ? p.a + static_cast<size_t>(row) * p.stride + begin + static_cast<size_t>(at) : p.a, inside);
    }
    close_group();
  };
#pragma unroll
  for (int j = 0; j < kAhead; j++) load_step(j, j * kStep);
  fetch_chunk(0);
  float sum[Tiles][kOctets][4] = {};
  for (int chunk = 0; chunk * kChunk < length; chunk++) {
    wait_for_groups<0>();
    __syncthreads();  // everybody's part of this chunk is there, and the one before is read
    if ((chunk + 1) * kChunk < length) fetch_chunk(chunk + 1);
    // lanes of eight name the rows of one square: rows, rows + 8, the same further along k
    const uint4* rows = rows_of(chunk) + (lane % 8 + lane / 8 % 2 * 8) * kRowPieces + lane / 16;
#pragma unroll 1
    for (int from = 0; from < kChunk && chunk * kChunk + from < length; from += kAhead * kStep)
#pragma unroll
      for (int j = 0; j < kAhead; j++) {
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            uint32_t v[4];
            load_squares(rows + 16 * t * kRowPieces + (from + j * kStep) / 8 + 2 * half, v);
#pragma unroll
            for (int c = 0; c < kOctets; c++) multiply_squares(v, half ? w[j][c].z : w[j][c].x, half ? w[j][c].w : w[j][c].y, sum[t][c]);
          }
        load_step(j, chunk * kChunk + from + (j + kAhead) * kStep);
      }
  }
  // by way of shared memory, so that neighbours write neighbours
  constexpr int stride = kColumns + 8;
  auto* sums = reinterpret_cast<float*>(dynamic_shared);
  __syncthreads();
#pragma unroll
  for (int t = 0; t < Tiles; t++)
#pragma unroll
    for (int c = 0; c < kOctets; c++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[(16 * t + e / 2 * 8 + lane / 4) * stride + 32 * warp + 8 * c + lane % 4 * 2 + e % 2] = sum[t][c][e];
  __syncthreads();
  if (place.first + threadIdx.x >= place.matrix.n) return;
  Product<float> to = p.to;
  if (gridDim.y > 1) to.c += blockIdx.y * to.m * to.n, to.bias = to.residual = nullptr, to.accumulate = false;
#pragma unroll 1
  for (int row = 0; row < static_cast<int>(p.m); row++) put(to, static_cast<size_t>(row), place.column + threadIdx.x, sums[row * stride + thread]);
}

template <class T> __device__ uint32_t pair_of(T low, T high) {
  if constexpr (std::is_same_v<T, float>) return pack_bf16(low, high);
  else return low.bits | static_cast<uint32_t>(high.bits) << 16;
}

/** Eight neighbours of a row to a thread. */
template <class T> __global__ void arrange(const T* from, size_t m, size_t k, bf16* to) {
  const size_t stride = thin_stride(k), i = global_index(), row = i / (stride / 8), first = i % (stride / 8) * 8;
  if (row >= m) return;
#pragma unroll
  for (size_t e = 0; e < 8; e += 2) {
    const T* at = from + row * k + first + e;
    const uint32_t pair = first < k ? pair_of(at[0], at[1]) : 0;
    *reinterpret_cast<uint32_t*>(to + row * stride + place_of(first + e)) = pair;
  }
}

void start(Stream& stream, const ThinProduct& p, const Product<float>& to) {
  if (p.m == 0 || p.n() == 0) return;
  const Thin a{p.a, p.m, p.k, p.stride(), p.part(), {p.matrices[0], p.matrices[1], p.matrices[2]}, to};
  const dim3 grid(static_cast<unsigned>(p.tiles()), static_cast<unsigned>(p.parts()));
  const auto with = [&]<int Tiles>(std::integral_constant<int, Tiles>) {
    launch_shared(stream, multiply_thin_rows<Tiles>, grid, kBlock, 2 * Tiles * 16 * kRowPieces * sizeof(uint4), a);
  };
  if (p.m <= 16) with(std::integral_constant<int, 1>{});
  else if (p.m <= 32) with(std::integral_constant<int, 2>{});
  else with(std::integral_constant<int, 4>{});
}

}  // namespace

size_t ThinProduct::n() const {
  size_t sum = 0;
  for (const auto& each : matrices) sum += each.n;
  return sum;
}
size_t ThinProduct::tiles() const {
  size_t sum = 0;
  for (const auto& each : matrices) sum += thin_tiles(each.n);
  return sum;
}
void multiply_thin(Stream& stream, const ThinProduct& p, float* partials) {
  start(stream, p, {p.m, p.n(), p.k, nullptr, nullptr, true, true, partials});
}

void multiply_thin(Stream& stream, const ThinProduct& p, const Product<float>& to) {
  const size_t parts = p.parts();
  if (parts == 1) return start(stream, p, to);
  Temporary<float> partials(stream, parts * to.m * to.n);
  multiply_thin(stream, p, partials.get());
  launch(stream, add_parts<float>, blocks_for(to.m * to.n), kThreads, to, parts, partials.get());
}

template <class A> void arrange_rows(Stream& stream, const A* from, size_t m, size_t k, bf16* to) {
  launch(stream, arrange<A>, blocks_for(m * thin_stride(k) / 8), kThreads, from, m, k, to);
}
template void arrange_rows(Stream&, const float*, size_t, size_t, bf16*);
template void arrange_rows(Stream&, const bf16*, size_t, size_t, bf16*);

template <class A> void multiply_thin(Stream& stream, const TensorProduct<A, bf16>& p) {
  Temporary<bf16> rows(stream, p.m * thin_stride(p.k));
  arrange_rows(stream, p.a, p.m, p.k, rows.get());
  multiply_thin(stream, {p.m, p.k, rows.get(), {{p.b, p.n}}}, p.written());
}
template void multiply_thin(Stream&, const TensorProduct<float, bf16>&);
template void multiply_thin(Stream&, const TensorProduct<bf16, bf16>&);

}  // namespace g2rpo::cuda
