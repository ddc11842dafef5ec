// Attention backward on tensor cores. Weights are computed again from logSumExp, once by tiles of queries and once by tiles of keys: nothing is added by
// several blocks. In either the rows of a warp's products are those that its block keeps, so that slopes become an operand where they are.
#pragma once
#include "tensor_tiles.cuh"

namespace g2rpo::attention {

/** Warps of a block have 32 queries each; as many keys to a tile as leave registers for the sums. */
template <int Width> struct QueryTile {
  static constexpr int queries = 128, keys = Width > 80 ? 32 : 64, threads = 128;
  static constexpr size_t bytes = sizeof(uint4) * (2 * queries + 4 * keys) * TensorRow<Width>::stride;
};
/** Warps of a block have 16·M keys each. */
template <int Width> struct KeyTile {
  static constexpr int M = Width > 80 ? 1 : 2, keys = 128, queries = M == 1 ? 64 : 32, threads = 32 * keys / (16 * M);
  static constexpr size_t bytes = sizeof(uint4) * (2 * keys + 4 * queries) * TensorRow<Width>::stride;
};

/** dOutput as bf16 as round_heads leaves it, and the numbers of its queries; sixteen threads to a head, a block to a row. */
template <int Width, class Layout, class In>
__global__ void round_d_output(Layout layout, const In* d_output, const In* output, const float* log_sum_exp, unsigned heads, unsigned group, unsigned width, uint4* to,
                               typename Layout::Number* numbers) {
  constexpr unsigned pieces = Width / 8, sharing = 16;
  const size_t row = blockIdx.x, rows = gridDim.x;
  const unsigned piece = threadIdx.x % sharing, counted = static_cast<unsigned>(row - layout.first(row)) * group;
  for (unsigned first = 0; first < heads; first += blockDim.x / sharing) {
    const unsigned head = first + threadIdx.x / sharing;
    const bool there = head < heads && 8 * piece < width;
    const size_t from = (row * heads + head) * width + 8 * piece, query = row * group + head % group;
    const uint4 rounded = there ? rounded_piece(d_output + from) : uint4{0, 0, 0, 0};
    float dot = 0;
    if (there) {
      const uint32_t pairs[4] = {rounded.x, rounded.y, rounded.z, rounded.w};
      constexpr int wide = cuda::kWide<In>;
#pragma unroll
      for (int i = 0; i < 8; i += wide) {
        const auto out = cuda::load<wide>(output + from + i);
#pragma unroll
        for (int e = 0; e < wide; e++) {
          const uint32_t pair = pairs[(i + e) / 2];
          dot = fmaf(__uint_as_float(e % 2 ? pair & 0xffff0000u : pair << 16), cuda::widened(out.x[e]), dot);
        }
      }
    }
    dot = cuda::warp_sum<sharing>(dot);
    if (head >= heads) continue;
    if (piece < pieces) to[layout.at(head / group, rows * group, query, counted + head % group, piece)] = rounded;
    if (piece == 0) numbers[head / group * rows * group + query] = {log_sum_exp[row * heads + head] * static_cast<float>(kLog2E), dot};
  }
}

template <int Width> __global__ void __launch_bounds__(128, 2) queries_on_tensor_cores(TensorArguments a) {
  using Row = TensorRow<Width>;
  constexpr int Queries = QueryTile<Width>::queries, Keys = QueryTile<Width>::keys, Threads = QueryTile<Width>::threads;
  const size_t key_heads = a.s.key_heads, g = blockIdx.x % key_heads;
  Part p;
  if (!a.queries.part((gridDim.x - 1 - blockIdx.x) / key_heads, Queries, p)) return;
  const auto group = static_cast<unsigned>(a.s.group), first_query = static_cast<unsigned>(p.first);
  const int begin = static_cast<int>(p.begin), lanes = static_cast<int>(p.lanes(group, Queries)), thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const auto row_of = [&](int query) { return static_cast<int>((first_query + static_cast<unsigned>(query)) / group); };  // within the segment
  const KeyTiles<Keys> tiles(p, a.s.causal ? p.begin + static_cast<size_t>(row_of(lanes - 1)) + 1 : p.end);
  uint4 *q = dynamic_shared, *d_out = q + Queries * Row::stride;
  const KeyFeed<Width, Keys, Threads> feed{d_out + Queries * Row::stride, a, g, tiles};
  const auto query_of = [&](int i, int half) { return 32 * warp + 16 * i + 8 * half + lane / 4; };
  const size_t from = a.first_query(g, p.begin) + p.first;
  fetch_rows<Width, Queries, Threads>(q, a.query + from * Row::pieces, lanes);
  fetch_rows<Width, Queries, Threads>(d_out, a.d_output + from * Row::pieces, lanes);
  feed.fetch(0);
  float2 numbers[2][2];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++)
      numbers[i][half] = query_of(i, half) < lanes ? a.numbers[from + static_cast<size_t>(query_of(i, half))] : float2{INFINITY, 0};
  float sum[2][Width / 8][4] = {};
  for (int t = 0; t < tiles.count(); t++) {
    cuda::wait_for_groups<0>();
    __syncthreads();  // everybody's part of this tile is there, and the tile before is read
    feed.fetch(t + 1);
    float score[2][Keys / 8][4], slope[2][Keys / 8][4];
    rows_by_rows<Width>(q + 32 * warp * Row::stride, feed.k(t), score);
    rows_by_rows<Width>(d_out + 32 * warp * Row::stride, feed.v(t), slope);
    const auto tile = tiles[t];
    const bool partly = tile.count < Keys || (tile.own && a.s.causal && tile.first + Keys > row_of(0) + 1);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (partly) {
          const int end = tile.own && a.s.causal ? min(tile.count, row_of(query_of(i, half)) + 1 - tile.first) : tile.count;
#pragma unroll
          for (int j = 0; j < Keys / 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              if (8 * j + lane % 4 * 2 + e >= end) score[i][j][2 * half + e] = -INFINITY;
        }
#pragma unroll
        for (int j = 0; j < Keys / 8; j++)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; e++)
            slope[i][j][e] = cuda::exp2_fast(fmaf(score[i][j][e], a.exponent, -numbers[i][half].x)) * (slope[i][j][e] - numbers[i][half].y);
      }
    weights_by_rows<Width>(slope, feed.k(t), sum);
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int half = 0; half < 2; half++)
      if (const int query = query_of(i, half); query < lanes) {
        const size_t head = g * group + (first_query + static_cast<unsigned>(query)) % group;
        put_rows<Width>(sum[i], half, a.scale, a.s.width, a.d_query + static_cast<size_t>(begin + row_of(query)) * a.s.query_stride + head * a.s.width);
      }
}

/** The tiles of queries that see keys of a segment: from `first` on those of its own, then those of segments whose prefix it is, in order. A warp asks together. */
template <int Queries> class SeeingTiles {
 public:
  __device__ SeeingTiles(const Plan& plan, int segment, int first, int group) : plan_(plan), segment_(segment), group_(group), first_(first) {
    take(segment);
    if (plan.prefix[segment] >= 0) scanned_ = static_cast<int>(plan.segments);  // what has a prefix is none
    if (first_ >= total_) find();
  }
  __device__ bool there() const { return first_ < total_; }
  __device__ void next() {
    first_ += Queries;
    if (first_ >= total_) find();
  }
  /** The first row of the segment, the tile's first query in it, how many it has, and whether the segment is the keys' own. */
  __device__ int begin() const { return begin_; }
  __device__ int first() const { return first_; }
  __device__ int count() const { return min(Queries, total_ - first_); }
  __device__ bool own() const { return own_; }

 private:
  __device__ void take(int z) { begin_ = plan_.starts[z], total_ = (plan_.starts[z + 1] - begin_) * group_; }
  __device__ void find() {
    const int segments = static_cast<int>(plan_.segments);
    for (;;) {
      while (found_ == 0) {
        if (scanned_ >= segments) return;
        const int z = scanned_ + static_cast<int>(threadIdx.x % 32);
        found_ = __ballot_sync(~0u, z < segments && plan_.prefix[z] == segment_);
        scanned_ += 32;
      }
      const int bit = __ffs(static_cast<int>(found_)) - 1;
      found_ &= found_ - 1;
      take(scanned_ - 32 + bit);
      own_ = false, first_ = 0;
      if (total_ > 0) return;
    }
  }

  const Plan& plan_;
  int segment_, group_, first_, begin_ = 0, total_ = 0, scanned_ = 0;
  unsigned found_ = 0;  // of the 32 segments before `scanned_`
  bool own_ = true;
};

template <int Width> __global__ void __launch_bounds__(KeyTile<Width>::threads, 1) keys_on_tensor_cores(TensorArguments a) {
  using Row = TensorRow<Width>;
  using Tile = KeyTile<Width>;
  constexpr int M = Tile::M, Keys = Tile::keys, Queries = Tile::queries, Threads = Tile::threads;
  __shared__ float2 numbers[2][Queries];
  const size_t key_heads = a.s.key_heads, g = blockIdx.x % key_heads;
  Part keys;
  if (!a.keys.part(blockIdx.x / key_heads, Keys, keys)) return;
  const auto group = static_cast<int>(a.s.group), first = static_cast<int>(keys.first);
  const int count = static_cast<int>(keys.lanes(1, Keys)), thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const size_t first_row = keys.begin + keys.first, from = (g * a.s.rows + first_row) * Row::pieces;
  uint4 *k = dynamic_shared, *v = k + Keys * Row::stride;
  const auto q = [&](int stage) { return v + (Keys + stage * 2 * Queries) * Row::stride; };
  const auto d_out = [&](int stage) { return q(stage) + Queries * Row::stride; };
  // of one's own none that comes before the first key sees any
  SeeingTiles<Queries> tiles(a.queries, static_cast<int>(keys.segment), a.s.causal ? first * group : 0, group);
  // what is not there has a weight of 2 to the minus infinity
  const auto fetch_tile = [&](int stage) {
    float2 mine{INFINITY, 0};
    if (tiles.there()) {
      const size_t at = a.first_query(g, static_cast<size_t>(tiles.begin())) + static_cast<size_t>(tiles.first());
      fetch_rows<Width, Queries, Threads>(q(stage), a.query + at * Row::pieces, tiles.count());
      fetch_rows<Width, Queries, Threads>(d_out(stage), a.d_output + at * Row::pieces, tiles.count());
      if (thread < tiles.count()) mine = a.numbers[at + static_cast<size_t>(thread)];
    }
    cuda::close_group();
    return mine;
  };
  fetch_rows<Width, Keys, Threads>(k, a.key + from, count);
  fetch_rows<Width, Keys, Threads>(v, a.value + from, count);
  float2 ahead = fetch_tile(0);
  float of_key[M][Width / 8][4] = {}, of_value[M][Width / 8][4] = {};
  const auto key_of = [&](int i, int half) { return 16 * (M * warp + i) + 8 * half + lane / 4; };
  for (int stage = 0; tiles.there(); stage ^= 1) {
    // how many queries of the segment come before the first that sees a key, where not every one of the tile sees all
    const bool partly = tiles.own() && a.s.causal && tiles.first() < (first + Keys - 1) * group;
    const int before = first * group - tiles.first();
    if (thread < Queries) numbers[stage][thread] = ahead;
    cuda::wait_for_groups<0>();
    __syncthreads();  // everybody's part of this tile is there, and the tile before is read
    tiles.next();
    ahead = fetch_tile(stage ^ 1);
    float weight[M][Queries / 8][4], slope[M][Queries / 8][4];
    rows_by_rows<Width>(k + 16 * M * warp * Row::stride, q(stage), weight);
    rows_by_rows<Width>(v + 16 * M * warp * Row::stride, d_out(stage), slope);
    if (partly) {
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < Queries / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++)
            if (8 * j + lane % 4 * 2 + e % 2 < before + key_of(i, e / 2) * group) weight[i][j][e] = -INFINITY;
    }
#pragma unroll
    for (int j = 0; j < Queries / 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float2 of_query = numbers[stage][8 * j + lane % 4 * 2 + e];
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
          for (int half = 0; half < 4; half += 2) {
            float &w = weight[i][j][e + half], &d = slope[i][j][e + half];
            w = cuda::exp2_fast(fmaf(w, a.exponent, -of_query.x));
            d = w * (d - of_query.y);
          }
      }
    weights_by_rows<Width>(weight, d_out(stage), of_value);
    weights_by_rows<Width>(slope, q(stage), of_key);
  }
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int half = 0; half < 2; half++)
      if (const int key = key_of(i, half); key < count) {
        const size_t to = (first_row + static_cast<size_t>(key)) * a.s.key_stride + g * a.s.width;
        put_rows<Width>(of_key[i], half, a.scale, a.s.width, a.d_key + to);
        if (a.narrow_d_value) put_rows<Width>(of_value[i], half, 1, a.s.width, a.narrow_d_value + to);
        else put_rows<Width>(of_value[i], half, 1, a.s.width, a.d_value + to);
      }
}

}  // namespace g2rpo::attention
