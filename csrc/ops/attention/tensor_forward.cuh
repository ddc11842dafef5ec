// Attention forward on tensor cores: four warps have 32 queries each and all keys of a tile, so that softmax runs inside a warp and its weights become
// an operand of the next product without leaving registers. The next tile of keys and values is on its way meanwhile.
#pragma once
#include "tensor_tiles.cuh"

namespace g2rpo::attention {

struct ForwardTile {
  static constexpr int queries = 128, keys = 64, threads = 128;
  static_assert(kAttentionTile % keys == 0);
  template <int Width> static constexpr size_t bytes() { return sizeof(uint4) * (queries + 4 * keys) * TensorRow<Width>::stride; }
};

template <int Width> __global__ void __launch_bounds__(128, 2) forward_on_tensor_cores(TensorArguments a) {
  using Row = TensorRow<Width>;
  constexpr int Queries = ForwardTile::queries, Keys = ForwardTile::keys, Threads = ForwardTile::threads;
  const size_t key_heads = a.s.key_heads, g = blockIdx.x % key_heads;
  Part p;
  // the last tiles of long segments see most and go first
  if (!a.queries.part((gridDim.x - 1 - blockIdx.x) / key_heads, Queries, p) || p.begin < a.s.keys_before) return;
  const auto group = static_cast<unsigned>(a.s.group), first_query = static_cast<unsigned>(p.first);
  const int begin = static_cast<int>(p.begin), lanes = static_cast<int>(p.lanes(group, Queries)), thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const auto row_of = [&](int query) { return static_cast<int>((first_query + static_cast<unsigned>(query)) / group); };  // within the segment
  const KeyTiles<Keys> tiles(p, a.s.causal ? p.begin + static_cast<size_t>(row_of(lanes - 1)) + 1 : p.end);
  uint4* q = dynamic_shared;
  const KeyFeed<Width, Keys, Threads> feed{q + Queries * Row::stride, a, g, tiles};
  fetch_rows<Width, Queries, Threads>(q, a.query + (a.first_query(g, p.begin) + p.first) * Row::pieces, lanes);
  feed.fetch(0);
  const auto query_of = [&](int i, int half) { return 32 * warp + 16 * i + 8 * half + lane / 4; };
  float most[2][2], total[2][2], sum[2][Width / 8][4] = {};
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) most[i][half] = -INFINITY, total[i][half] = 0;
  for (int t = 0; t < tiles.count(); t++) {
    cuda::wait_for_groups<0>();
    __syncthreads();  // everybody's part of this tile is there, and the tile before is read
    feed.fetch(t + 1);
    float score[2][Keys / 8][4];
    rows_by_rows<Width>(q + 32 * warp * Row::stride, feed.k(t), score);
    const auto tile = tiles[t];
    if (tile.count < Keys || (tile.own && a.s.causal && tile.first + Keys > row_of(0) + 1)) {
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int end = tile.own && a.s.causal ? min(tile.count, row_of(query_of(i, half)) + 1 - tile.first) : tile.count;
#pragma unroll
          for (int j = 0; j < Keys / 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (8 * j + lane % 4 * 2 + e >= end) score[i][j][2 * half + e] = -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float largest = most[i][half];
#pragma unroll
        for (int j = 0; j < Keys / 8; j++) largest = fmaxf(largest, fmaxf(score[i][j][2 * half], score[i][j][2 * half + 1]));
        largest = cuda::warp_max<4>(largest);
        // a row may see nothing of this tile, and of none before
        const float base = largest == -INFINITY ? 0 : largest, shift = base * a.exponent, keep = cuda::exp2_fast((most[i][half] - base) * a.exponent);
        most[i][half] = largest;
        float added = 0;
#pragma unroll
        for (int j = 0; j < Keys / 8; j++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = score[i][j][2 * half + e];
            x = cuda::exp2_fast(fmaf(x, a.exponent, -shift));
            added += x;
          }
        total[i][half] = fmaf(total[i][half], keep, added);
        if (__any_sync(~0u, keep != 1)) {
#pragma unroll
          for (int j = 0; j < Width / 8; j++) sum[i][j][2 * half] *= keep, sum[i][j][2 * half + 1] *= keep;
        }
      }
    weights_by_rows<Width>(score, feed.v(t), sum);
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float all = cuda::warp_sum<4>(total[i][half]);
      const int query = query_of(i, half);
      if (query >= lanes) continue;
      const size_t at = static_cast<size_t>(begin + row_of(query)) * a.s.heads + g * group + (first_query + static_cast<unsigned>(query)) % group;
      if (a.narrow_out) put_rows<Width>(sum[i], half, 1 / all, a.s.width, a.narrow_out + at * a.s.width);
      else put_rows<Width>(sum[i], half, 1 / all, a.s.width, a.out + at * a.s.width);
      if (lane % 4 == 0) a.log_sum_exp[at] = most[i][half] * a.scale + logf(all);
    }
}

}  // namespace g2rpo::attention
