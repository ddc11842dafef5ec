// What attention on warpgroups shares: operands as panels of bf16, and blocks that stay and take one piece of work after another, in which one warpgroup brings
// what two others multiply.
#pragma once
#include "../../backends/cuda/panels.cuh"
#include "tensor_tiles.cuh"

namespace g2rpo::attention {

/** Heads that were rounded as panels, in place of RowsInOrder; a segment's rows are counted from its first one. */
template <int Width> struct RowsInPanels {
  using Number = float4;  // two of it are used: copies want pieces of 16 bytes
  Plan plan;
  __device__ size_t first(size_t row) const { return static_cast<size_t>(plan.starts[cuda::group_of(plan.starts, plan.segments, row)]); }
  __device__ size_t at(size_t g, size_t all, size_t query, unsigned counted, unsigned piece) const {
    using P = cuda::Panels<Width>;
    return g * all * P::pieces + P::at(all, query, piece, counted);
  }
};

/** Zeros for tiles that are not full, and counts of the work that was taken. */
class Counters {
 public:
  explicit Counters(Stream& stream) : held_(stream, kZeros + 1) { held_.fill_bytes(0, kZeros + 1); }
  const uint4* zeros() const { return held_.get(); }
  int* taken(size_t kernel) const { return reinterpret_cast<int*>(held_.get() + kZeros) + kernel; }

 private:
  static constexpr size_t kZeros = 128 * 8;  // pieces: a panel of a tile
  cuda::Temporary<uint4> held_;
};

/** Brings `count` rows from row `row` on of a head that has `rows` into a tile of Rows, and zeros behind them. One thread; the barrier counts Rows · Width · 2 bytes. */
template <int Width, int Rows> __device__ void copy_tile(unsigned char* tile, const uint4* head, size_t rows, size_t row, unsigned count, const uint4* zeros, cuda::Barrier& arrived) {
  using P = cuda::Panels<Width>;
  const auto* from = reinterpret_cast<const unsigned char*>(head);
#pragma unroll
  for (int panel = 0; panel < P::count; panel++) {
    const unsigned each = P::row_bytes(panel);
    cuda::copy_bulk(tile + P::begin(panel, Rows), from + P::begin(panel, rows) + row * each, count * each, arrived);
    if (count < Rows) cuda::copy_bulk(tile + P::begin(panel, Rows) + count * each, zeros, (Rows - count) * each, arrived);
  }
}

/** Which of N slots is next for somebody who fills or empties them one after the other. */
template <int N> struct Turn {
  unsigned slot = 0, parity = 0;
  __device__ void next() {
    if (++slot == N) slot = 0, parity ^= 1;
  }
};
/** Slots of shared memory that some fill and others empty. */
template <int N> struct Ring {
  cuda::Barrier filled[N], emptied[N];
  __device__ void begin(unsigned filling, unsigned emptying) {
    for (int i = 0; i < N; i++) cuda::begin_barrier(filled[i], filling), cuda::begin_barrier(emptied[i], emptying);
  }
  __device__ void wait_filled(const Turn<N>& t) { cuda::wait(filled[t.slot], t.parity); }
  __device__ void wait_empty(const Turn<N>& t) { cuda::wait(emptied[t.slot], t.parity ^ 1); }
  /** By a whole warp that has read what is there. */
  __device__ void empty(const Turn<N>& t) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) cuda::arrive(emptied[t.slot]);
  }
};

/** Some queries of a segment that share key head g, or some of its keys; nothing is left to do where g is below 0. */
struct Work {
  Part part;
  int g;
};
/** Threads of a block: two warpgroups that multiply, and one that brings. */
constexpr int kWarpgroupThreads = 384, kMultiplyingWarps = 8;

/** Weights as bf16, as add_weighted takes them. */
template <int N> __device__ void pack_weights(const float (&weights)[N][4], uint32_t (&packed)[N / 2][4]) {
#pragma unroll
  for (int k = 0; k < N / 2; k++)
#pragma unroll
    for (int q = 0; q < 4; q++) packed[k][q] = cuda::pack_bf16(weights[2 * k + q / 2][q % 2 * 2], weights[2 * k + q / 2][q % 2 * 2 + 1]);
}

/** As many blocks as stay, for so many pieces of work. */
inline unsigned staying_blocks(size_t work) {
  const size_t processors = cuda::processors();
  return static_cast<unsigned>(work < processors ? work : processors);
}

/** Queries of parts of Side of them, wherever they are worked on. */
struct QueryParts {
  static constexpr int side = 128;
  Plan plan;
  Shape s;

  /** The last tiles of long segments see most and go first. */
  __device__ Work take(int* taken) const {
    for (;;) {
      const auto i = static_cast<size_t>(atomicAdd(taken, 1)), tiles = static_cast<size_t>(plan.tiles[plan.segments]);
      Work work{{}, static_cast<int>(i % s.key_heads)};
      if (i >= tiles * s.key_heads || !plan.part(tiles - 1 - i / s.key_heads, side, work.part)) return {{}, -1};
      if (work.part.begin >= s.keys_before) return work;
    }
  }
  __device__ int lanes(const Part& p) const { return static_cast<int>(p.lanes(s.group, side)); }
  /** Row of a query of a part within its segment. */
  __device__ int row(const Part& p, int query) const {
    return static_cast<int>((static_cast<unsigned>(p.first) + static_cast<unsigned>(query)) / static_cast<unsigned>(s.group));
  }
  __device__ size_t head(const Work& w, int query) const {
    return static_cast<size_t>(w.g) * s.group + (static_cast<unsigned>(w.part.first) + static_cast<unsigned>(query)) % static_cast<unsigned>(s.group);
  }
  template <int Keys> __device__ KeyTiles<Keys> tiles(const Part& p) const {
    return {p, s.causal ? p.begin + static_cast<size_t>(row(p, lanes(p) - 1)) + 1 : p.end};
  }
  /** A thread's query of a part, in the lower or upper half of its rows. */
  __device__ static int query(int half) { return static_cast<int>(threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4) + 8 * half; }

  /** What a query does not see of a tile of Keys becomes −∞. */
  template <int Keys, class One> __device__ void mask(const Part& p, const One& tile, float (&score)[Keys / 8][4]) const {
    const bool causal = tile.own && s.causal;
    if (tile.count == Keys && !(causal && tile.first + Keys > row(p, static_cast<int>(threadIdx.x) / 128 * 64) + 1)) return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int end = (causal ? min(tile.count, row(p, query(half)) + 1 - tile.first) : tile.count) - static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
      for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++)
          if (8 * j + e >= end) score[j][2 * half + e] = -INFINITY;
    }
  }
};

}  // namespace g2rpo::attention
