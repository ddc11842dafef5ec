// Decoding on tensor cores: a block has one split of keys and up to 64 queries that see it, those of one row or of rows that stand together and share
// the prefix, so that keys of a prompt are read once for all of these. Queries, keys and values are rounded to bf16 as in the forward pass. What a split
// leaves is what decode.cuh combines.
#pragma once
#include <tensor_core.cuh>

#include "decode.cuh"

namespace g2rpo::attention {

struct DecodeTile {
  static constexpr int queries = 64, threads = 128, keys = kSplit;
};

/** Rows from x on, of this launch, whose prefix is the same and which go together: none where an earlier row takes x with it. */
__device__ inline uint32_t rows_together(const DecodeArguments<float>& a, uint32_t x, uint32_t most) {
  const int32_t* prefix = a.tables.prefix + a.first;
  const int32_t own = prefix[x];
  const uint32_t lane = threadIdx.x % 32;
  uint32_t start = x;  // of those that share it
  while (start > 0) {
    const unsigned others = ~__ballot_sync(~0u, lane < start && prefix[start - 1 - lane] == own);
    start -= others ? static_cast<uint32_t>(__ffs(static_cast<int>(others)) - 1) : 32;
    if (others) break;
  }
  if ((x - start) % most != 0) return 0;
  for (uint32_t n = 0; n < most; n += 32) {
    const uint32_t i = n + lane;
    const unsigned others = ~__ballot_sync(~0u, i < most && x + i < a.rows && prefix[x + i] == own);
    if (others) return n + static_cast<uint32_t>(__ffs(static_cast<int>(others)) - 1);
  }
  return most;
}

/** Block (x, y, z): the first row, which split of which table, and the key head. */
template <int Width> __global__ void __launch_bounds__(DecodeTile::threads, 3) meet_on_tensor_cores(DecodeArguments<float> a) {
  constexpr int Count = DecodeTile::keys, stride = Width / 8 + 1;  // pieces of 16 bytes: rows behind each other begin four banks apart
  __shared__ uint4 key[Count * stride], value[Count * stride];
  if (a.tables.refused()) return;
  const bool own = blockIdx.y >= a.prefix_splits;
  const uint32_t begin = (blockIdx.y - (own ? a.prefix_splits : 0)) * kSplit, group = a.group, x = blockIdx.x;
  const Keys table = own ? a.tables.own_of(a.first + x) : a.tables.prefix_of(a.first + x);
  if (begin >= table.count) return;
  const uint32_t queries = group * (own ? 1 : rows_together(a, x, DecodeTile::queries / group));
  if (queries == 0) return;
  const int count = static_cast<int>(table.count - begin < kSplit ? table.count - begin : kSplit);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const auto query_of = [&](int half) { return static_cast<uint32_t>(16 * warp + 8 * half + lane / 4); };
  const auto place_of = [&](uint32_t query) { return (x + query / group) * a.heads + blockIdx.z * group + query % group; };  // row and head
  uint32_t q[Width / 16][4];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const bool there = query_of(half) < queries;
    const float* from = a.query + (a.first * a.heads + (there ? place_of(query_of(half)) : 0)) * Width + lane % 4 * 2;
#pragma unroll
    for (int s = 0; s < 2 * (Width / 16); s++) {
      const auto pair = cuda::load<2>(from + 8 * s);
      q[s / 2][s % 2 * 2 + half] = there ? cuda::pack_bf16(pair.x[0], pair.x[1]) : 0;
    }
  }
  constexpr int packs = Width / 4, together = DecodeTile::threads / packs;
#pragma unroll 4
  for (int i = thread / packs; i < Count; i += together) {
    cuda::Pack<float, 4> of_key{}, of_value{};
    if (i < count) {
      const uint32_t j = begin + static_cast<uint32_t>(i), page = a.tables.page;
      const size_t token = static_cast<size_t>(table.pages[j / page]) * page + j % page;
      const size_t from = (token * a.key_heads + blockIdx.z) * Width + static_cast<size_t>(thread % packs * 4);
      of_key = cuda::load<4>(a.key + from), of_value = cuda::load<4>(a.value + from);
    }
    const int to = 2 * i * stride + thread % packs;
    reinterpret_cast<uint2*>(key)[to] = {cuda::pack_bf16(of_key.x[0], of_key.x[1]), cuda::pack_bf16(of_key.x[2], of_key.x[3])};
    reinterpret_cast<uint2*>(value)[to] = {cuda::pack_bf16(of_value.x[0], of_value.x[1]), cuda::pack_bf16(of_value.x[2], of_value.x[3])};
  }
  __syncthreads();
  if (static_cast<uint32_t>(16 * warp) >= queries) return;

  const int square = lane / 8, line = lane % 8;  // lanes of eight name the rows of one square
  float score[Count / 8][4] = {};
#pragma unroll
  for (int s = 0; s < Width / 16; s++)
#pragma unroll
    for (int j = 0; j < Count / 16; j++) {  // squares: keys, the same further along, keys + 8, these further along
      uint32_t k[4];
      cuda::load_squares(key + (16 * j + square / 2 * 8 + line) * stride + 2 * s + square % 2, k);
      cuda::multiply_squares(q[s], k[0], k[1], score[2 * j]), cuda::multiply_squares(q[s], k[2], k[3], score[2 * j + 1]);
    }
  float most[2], sum[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float largest = -INFINITY;
#pragma unroll
    for (int j = 0; j < Count / 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float& s = score[j][2 * half + e];
        s = 8 * j + lane % 4 * 2 + e < count ? s * a.scale : -INFINITY;
        largest = fmaxf(largest, s);
      }
    largest = cuda::warp_max<4>(largest);
    float added = 0;
#pragma unroll
    for (int j = 0; j < Count / 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) added += score[j][2 * half + e] = cuda::exp2_fast(score[j][2 * half + e] - largest);
    most[half] = largest, sum[half] = cuda::warp_sum<4>(added);
  }
  float out[Width / 8][4] = {};
#pragma unroll
  for (int s = 0; s < Count / 16; s++) {
    const uint32_t weights[4] = {cuda::pack_bf16(score[2 * s][0], score[2 * s][1]), cuda::pack_bf16(score[2 * s][2], score[2 * s][3]),
                                 cuda::pack_bf16(score[2 * s + 1][0], score[2 * s + 1][1]), cuda::pack_bf16(score[2 * s + 1][2], score[2 * s + 1][3])};
#pragma unroll
    for (int j = 0; j < Width / 16; j++) {  // squares: keys, keys + 8, the same further along
      uint32_t v[4];
      cuda::load_squares_transposed(value + (16 * s + square % 2 * 8 + line) * stride + 2 * j + square / 2, v);
      cuda::multiply_squares(weights, v[0], v[1], out[2 * j]), cuda::multiply_squares(weights, v[2], v[3], out[2 * j + 1]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (query_of(half) >= queries) continue;
    const size_t to = place_of(query_of(half)) * a.splits + blockIdx.y;
#pragma unroll
    for (int j = 0; j < Width / 8; j++)
      cuda::store<2>(a.partial + to * Width + 8 * j + lane % 4 * 2, cuda::Pack<float, 2>{out[j][2 * half], out[j][2 * half + 1]});
    if (lane % 4 == 0) a.most[to] = most[half], a.sum[to] = sum[half];
  }
}

/** Whether it can: heads of 64 or 128, of which a key head has at most 64. */
inline bool decodes_on_tensor_cores(const DecodeArguments<float>& a) {
  return (a.width == 64 || a.width == 128) && a.group <= DecodeTile::queries && cuda::aligned(a.query, a.key, a.value, a.partial);
}

inline void meet_on_tensor_cores(Stream& stream, const DecodeArguments<float>& a) {
  const dim3 grid(static_cast<unsigned>(a.rows), static_cast<unsigned>(a.splits), static_cast<unsigned>(a.key_heads));
  cuda::launch(stream, a.width == 128 ? meet_on_tensor_cores<128> : meet_on_tensor_cores<64>, grid, DecodeTile::threads, a);
}

}  // namespace g2rpo::attention
