// Attention backward on warpgroups, as on tensor cores: weights are computed again from logSumExp, once by tiles of queries and once by tiles of keys, so that nothing
// is added by several blocks. The rows of a warpgroup's products are those that its block keeps; what it needs of others comes by bulk copies.
#pragma once
#include "tensor_backward.cuh"
#include "warpgroup_tiles.cuh"

namespace g2rpo::attention {

struct WarpgroupBackward {
  const uint4 *query, *key, *value, *d_output, *zeros;
  const float4* numbers;  // of every query as it lies there: logSumExp · log₂e, and dOutput · output
  int* taken;
  QueryParts parts;
  Plan keys;
  float scale, exponent;  // exponent: scale · log₂e
  float *d_query, *d_key, *d_value;
  bf16* narrow_d_value;  // in the place of d_value, where it is there

  /** Where queries of a segment that begins with row `begin` lie among those of key head g. */
  __device__ size_t first_query(size_t begin) const { return begin * parts.s.group; }
  __device__ size_t all_queries() const { return parts.s.rows * parts.s.group; }
};

/** A pair of tiles with rows of the same places, behind each other. */
template <int Width, int Rows> struct TilePair {
  using One = cuda::PanelTile<Width, Rows>;
  static constexpr unsigned bytes = 2 * One::bytes;
  /** One thread; the barrier counts `bytes`. */
  static __device__ void copy(unsigned char* to, const uint4* first, const uint4* second, size_t g, size_t rows, size_t row, int count, const uint4* zeros, cuda::Barrier& arrived) {
    const size_t head = g * rows * cuda::Panels<Width>::pieces;
    copy_tile<Width, Rows>(to, first + head, rows, row, static_cast<unsigned>(count), zeros, arrived);
    copy_tile<Width, Rows>(to + One::bytes, second + head, rows, row, static_cast<unsigned>(count), zeros, arrived);
  }
};

/** Queries of a part and their dOutput, while tiles of keys and values pass by. */
template <int Width> struct QueryPass {
  static constexpr int queries = QueryParts::side, keys = 64, stages = 3;
  using Kept = TilePair<Width, queries>;
  using Passing = TilePair<Width, keys>;
  static constexpr size_t bytes = cuda::kPanelAlignment + 2 * Kept::bytes + stages * Passing::bytes;
  struct Shared {
    Work work[2];
    Ring<2> kept;
    Ring<stages> passing;
  };

  /** One thread. */
  static __device__ void bring(const WarpgroupBackward& a, Shared& shared, unsigned char* kept, unsigned char* passing) {
    Turn<2> turn;
    Turn<stages> stage;
    for (;; turn.next()) {
      shared.kept.wait_empty(turn);
      const Work work = shared.work[turn.slot] = a.parts.take(a.taken);
      if (work.g < 0) return cuda::arrive(shared.kept.filled[turn.slot]);
      const auto g = static_cast<size_t>(work.g);
      cuda::arrive_expecting(shared.kept.filled[turn.slot], Kept::bytes);
      Kept::copy(kept + turn.slot * Kept::bytes, a.query, a.d_output, g, a.all_queries(), a.first_query(work.part.begin) + work.part.first, a.parts.lanes(work.part), a.zeros,
                 shared.kept.filled[turn.slot]);
      const auto tiles = a.parts.tiles<keys>(work.part);
      for (int t = 0; t < tiles.count(); t++, stage.next()) {
        const auto tile = tiles[t];
        shared.passing.wait_empty(stage);
        cuda::arrive_expecting(shared.passing.filled[stage.slot], Passing::bytes);
        Passing::copy(passing + stage.slot * Passing::bytes, a.key, a.value, g, a.parts.s.rows, static_cast<size_t>(tile.row), tile.count, a.zeros, shared.passing.filled[stage.slot]);
      }
    }
  }

  /** Two warpgroups. */
  static __device__ void multiply(const WarpgroupBackward& a, Shared& shared, const unsigned char* kept, const unsigned char* passing) {
    const auto& s = a.parts.s;
    const unsigned first = threadIdx.x / 128 * 64;
    Turn<2> turn;
    Turn<stages> ahead, now;
    for (;; turn.next()) {
      shared.kept.wait_filled(turn);
      const Work work = shared.work[turn.slot];
      if (work.g < 0) return;
      const auto tiles = a.parts.tiles<keys>(work.part);
      const int count = tiles.count(), lanes = a.parts.lanes(work.part);
      const typename Kept::One q(kept + turn.slot * Kept::bytes), d_out(kept + turn.slot * Kept::bytes + Kept::One::bytes);
      float log_sum[2], dot[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int query = min(QueryParts::query(half), lanes - 1);
        const float4 of_query = a.numbers[static_cast<size_t>(work.g) * a.all_queries() + a.first_query(work.part.begin) + work.part.first + static_cast<size_t>(query)];
        log_sum[half] = of_query.x, dot[half] = of_query.y;
      }
      float score[keys / 8][4], slope[keys / 8][4], sum[Width / 8][4] = {};
      uint32_t packed[keys / 16][4];
      const auto multiply_keys = [&] {
        const unsigned char* tile = passing + ahead.slot * Passing::bytes;
        cuda::multiply_rows(score, q, first, typename Passing::One(tile));
        cuda::multiply_rows(slope, d_out, first, typename Passing::One(tile + Passing::One::bytes));
        cuda::close_products();
        ahead.next();
      };
      const auto add_slopes = [&] {
        cuda::add_weighted(sum, packed, typename Passing::One(passing + now.slot * Passing::bytes));
        cuda::close_products();
      };
      const auto weigh = [&](int t) {
        if (t == count - 1) shared.kept.empty(turn);
        a.parts.mask<keys>(work.part, tiles[t], score);
#pragma unroll
        for (int j = 0; j < keys / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) slope[j][e] = cuda::exp2_fast(fmaf(score[j][e], a.exponent, -log_sum[e / 2])) * (slope[j][e] - dot[e / 2]);
      };
      shared.passing.wait_filled(ahead);
      cuda::begin_products();
      multiply_keys();
      cuda::wait_for_products<0>();
      cuda::done(score), cuda::done(slope);
      weigh(0);
      pack_weights(slope, packed);
      for (int t = 1; t < count; t++) {
        shared.passing.wait_filled(ahead);
        cuda::begin_products();
        multiply_keys();
        add_slopes();
        cuda::wait_for_products<1>();
        cuda::done(score), cuda::done(slope);
        weigh(t);
        cuda::wait_for_products<0>();
        cuda::done(sum);
        shared.passing.empty(now), now.next();
        pack_weights(slope, packed);
      }
      cuda::begin_products();
      add_slopes();
      cuda::wait_for_products<0>();
      cuda::done(sum);
      shared.passing.empty(now), now.next();
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (const int query = QueryParts::query(half); query < lanes)
          put_rows<Width>(sum, half, a.scale, s.width,
                          a.d_query + (work.part.begin + static_cast<size_t>(a.parts.row(work.part, query))) * s.query_stride + a.parts.head(work, query) * s.width);
    }
  }

  static __device__ void begin(Shared& shared) { shared.kept.begin(1, kMultiplyingWarps), shared.passing.begin(1, kMultiplyingWarps); }
};

/** Keys and values of a part, while tiles of queries and their dOutput pass by. */
template <int Width> struct KeyPass {
  static constexpr int keys = 128, queries = 64, stages = 2;
  using Kept = TilePair<Width, keys>;
  using Passing = TilePair<Width, queries>;
  static constexpr unsigned number_bytes = queries * sizeof(float4);
  static constexpr size_t bytes = cuda::kPanelAlignment + 2 * Kept::bytes + stages * Passing::bytes;
  enum class Seen : int { whole, partly, none };
  struct Shared {
    float4 numbers[stages][queries];
    Work work[2];
    Ring<2> kept;
    Ring<stages> passing;
    /** of a tile of queries: what they see of the keys, none behind the last tile; how many of the segment come before the first that sees a key, less those before the tile */
    struct {
      Seen seen;
      int before;
    } passes[stages];
  };

  /** The first keys of long segments are seen by most and go first. */
  static __device__ Work take(const WarpgroupBackward& a, int i) {
    const size_t at = static_cast<size_t>(i), heads = a.parts.s.key_heads;
    Work work{{}, static_cast<int>(at % heads)};
    return a.keys.part(at / heads, keys, work.part) ? work : Work{{}, -1};
  }

  /** One warp. */
  static __device__ void bring(const WarpgroupBackward& a, Shared& shared, unsigned char* kept, unsigned char* passing) {
    const auto& s = a.parts.s;
    const bool leads = threadIdx.x % 32 == 0;
    const auto group = static_cast<int>(s.group);
    Turn<2> turn;
    Turn<stages> stage;
    for (;; turn.next()) {
      const Work work = take(a, __shfl_sync(~0u, leads ? atomicAdd(a.taken, 1) : 0, 0));
      shared.kept.wait_empty(turn);
      if (leads) shared.work[turn.slot] = work;
      if (work.g < 0) {
        if (leads) cuda::arrive(shared.kept.filled[turn.slot]);
        return;
      }
      const auto g = static_cast<size_t>(work.g);
      const int first = static_cast<int>(work.part.first);
      if (leads) {
        cuda::arrive_expecting(shared.kept.filled[turn.slot], Kept::bytes);
        Kept::copy(kept + turn.slot * Kept::bytes, a.key, a.value, g, s.rows, work.part.begin + work.part.first, static_cast<int>(work.part.lanes(1, keys)), a.zeros,
                   shared.kept.filled[turn.slot]);
      }
      // of one's own none that comes before the first key sees any
      SeeingTiles<queries> tiles(a.parts.plan, static_cast<int>(work.part.segment), s.causal ? first * group : 0, group);
      for (; tiles.there(); tiles.next(), stage.next()) {
        shared.passing.wait_empty(stage);
        if (leads) {
          const bool partly = tiles.own() && s.causal && tiles.first() < (first + keys - 1) * group;
          shared.passes[stage.slot] = {partly ? Seen::partly : Seen::whole, first * group - tiles.first()};
          auto& arrived = shared.passing.filled[stage.slot];
          const auto count = static_cast<unsigned>(tiles.count());
          const size_t row = a.first_query(static_cast<size_t>(tiles.begin())) + static_cast<size_t>(tiles.first());
          auto* numbers = shared.numbers[stage.slot];
          cuda::arrive_expecting(arrived, Passing::bytes + number_bytes);
          Passing::copy(passing + stage.slot * Passing::bytes, a.query, a.d_output, g, a.all_queries(), row, tiles.count(), a.zeros, arrived);
          // where there is no query, rows are zeros, and so are their products whatever they weigh
          cuda::copy_bulk(numbers, a.numbers + g * a.all_queries() + row, count * sizeof(float4), arrived);
          if (count < queries) cuda::copy_bulk(numbers + count, a.zeros, (queries - count) * sizeof(float4), arrived);
        }
      }
      shared.passing.wait_empty(stage);
      if (leads) {
        shared.passes[stage.slot] = {Seen::none, 0};
        cuda::arrive(shared.passing.filled[stage.slot]);
      }
      stage.next();
    }
  }

  /** Two warpgroups. */
  static __device__ void multiply(const WarpgroupBackward& a, Shared& shared, const unsigned char* kept, const unsigned char* passing) {
    const auto& s = a.parts.s;
    const unsigned first = threadIdx.x / 128 * 64;
    const int column = static_cast<int>(threadIdx.x) % 4 * 2, group = static_cast<int>(s.group);
    Turn<2> turn;
    Turn<stages> stage;
    for (;; turn.next()) {
      shared.kept.wait_filled(turn);
      const Work work = shared.work[turn.slot];
      if (work.g < 0) return;
      const typename Kept::One k(kept + turn.slot * Kept::bytes), v(kept + turn.slot * Kept::bytes + Kept::One::bytes);
      float of_key[Width / 8][4] = {}, of_value[Width / 8][4] = {};
      for (;; stage.next()) {
        shared.passing.wait_filled(stage);
        const auto pass = shared.passes[stage.slot];
        if (pass.seen == Seen::none) break;
        const unsigned char* tile = passing + stage.slot * Passing::bytes;
        const float4* numbers = shared.numbers[stage.slot];
        const typename Passing::One q(tile), d_out(tile + Passing::One::bytes);
        float weight[queries / 8][4], slope[queries / 8][4];
        uint32_t weights[queries / 16][4], slopes[queries / 16][4];
        cuda::begin_products();
        cuda::multiply_rows(weight, k, first, q);
        cuda::close_products();
        cuda::multiply_rows(slope, v, first, d_out);
        cuda::close_products();
        cuda::wait_for_products<1>();
        cuda::done(weight);
        if (pass.seen == Seen::partly) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const int from = pass.before + QueryParts::query(half) * group - column;
#pragma unroll
            for (int j = 0; j < queries / 8; j++)
#pragma unroll
              for (int e = 0; e < 2; e++)
                if (8 * j + e < from) weight[j][2 * half + e] = -INFINITY;
          }
        }
#pragma unroll
        for (int j = 0; j < queries / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) weight[j][e] = cuda::exp2_fast(fmaf(weight[j][e], a.exponent, -numbers[8 * j + column + e % 2].x));
        pack_weights(weight, weights);
        cuda::begin_products();
        cuda::add_weighted(of_value, weights, d_out);
        cuda::close_products();
        cuda::wait_for_products<1>();
        cuda::done(slope);
#pragma unroll
        for (int j = 0; j < queries / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) {  // as rounded: registers are all taken. The product still reads them, but nothing writes them before it is waited for
            const uint32_t pair = weights[j / 2][j % 2 * 2 + e / 2];
            slope[j][e] = __uint_as_float(e % 2 ? pair & 0xffff0000u : pair << 16) * (slope[j][e] - numbers[8 * j + column + e % 2].y);
          }
        pack_weights(slope, slopes);
        cuda::begin_products();
        cuda::add_weighted(of_key, slopes, q);
        cuda::close_products();
        cuda::wait_for_products<0>();
        cuda::done(of_key), cuda::done(of_value);
        shared.passing.empty(stage);
      }
      shared.passing.empty(stage), stage.next();
      shared.kept.empty(turn);
      const int count = static_cast<int>(work.part.lanes(1, keys));
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (const int key = QueryParts::query(half); key < count) {
          const size_t to = (work.part.begin + work.part.first + static_cast<size_t>(key)) * s.key_stride + static_cast<size_t>(work.g) * s.width;
          put_rows<Width>(of_key, half, a.scale, s.width, a.d_key + to);
          if (a.narrow_d_value) put_rows<Width>(of_value, half, 1, s.width, a.narrow_d_value + to);
          else put_rows<Width>(of_value, half, 1, s.width, a.d_value + to);
        }
    }
  }

  static __device__ void begin(Shared& shared) { shared.kept.begin(1, kMultiplyingWarps), shared.passing.begin(1, kMultiplyingWarps); }
};

template <class Pass, int Bringing, int Multiplying> __device__ void pass_on_warpgroups(const WarpgroupBackward& a, int bringing_threads) {
  __shared__ typename Pass::Shared shared;
  unsigned char *kept = cuda::aligned_shared(), *passing = kept + 2 * Pass::Kept::bytes;
  if (threadIdx.x == 0) {
    Pass::begin(shared);
    cuda::publish_barriers();
  }
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.x) - 32 * kMultiplyingWarps;
  if (thread >= 0) {
    cuda::give_registers<Bringing>();
    if (thread < bringing_threads) Pass::bring(a, shared, kept, passing);
  } else {
    cuda::take_registers<Multiplying>();
    Pass::multiply(a, shared, kept, passing);
  }
}

template <int Width> __global__ void __launch_bounds__(kWarpgroupThreads, 1) queries_on_warpgroups(WarpgroupBackward a) {
  if constexpr (cuda::kWarpgroupCode) pass_on_warpgroups<QueryPass<Width>, 72, 216>(a, 1);
  else cuda::fail_without_code();
}
template <int Width> __global__ void __launch_bounds__(kWarpgroupThreads, 1) keys_on_warpgroups(WarpgroupBackward a) {
  if constexpr (cuda::kWarpgroupCode) pass_on_warpgroups<KeyPass<Width>, 24, 240>(a, 32);
  else cuda::fail_without_code();
}

}  // namespace g2rpo::attention
