// Attention forward on warpgroups. Two of them have 64 queries each and share tiles of keys and values, which a third brings: one thread by bulk copies, three warps
// the queries, rounded on their way. The scores of the next tile are multiplied before the softmax of this one, so that tensor cores have work meanwhile.
#pragma once
#include "warpgroup_tiles.cuh"

namespace g2rpo::attention {

struct WarpgroupForward {
  static constexpr int queries = QueryParts::side, keys = 128, rounding = 96;  // rounding: threads that bring queries
  static_assert(kAttentionTile % keys == 0);
  template <int Width> static constexpr size_t bytes() { return cuda::kPanelAlignment + (2 * queries + 4 * keys) * Width * 2; }

  const float* query;  // by rows of keys, as out and log_sum_exp
  const uint4 *key, *value, *zeros;
  int* taken;
  QueryParts parts;
  float scale, exponent;  // exponent: scale · log₂e
  float *out, *log_sum_exp;
  bf16* narrow_out;  // in the place of out, where it is there
};

/** What a block has in shared memory beside its tiles. */
struct ForwardShared {
  Work work[2];
  Ring<2> of_work, keys, values;
  cuda::Barrier queries[2];  // filled; they are emptied with their work
};

/** Two rows of 64 queries of a warpgroup, as they lie in a thread: their softmax so far, without the sums of values. */
template <int Keys> struct RunningSoftmax {
  float most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};

  /** Scores become weights; keep: what all earlier weights are to be multiplied with. */
  __device__ void take(float (&score)[Keys / 8][4], float exponent, float (&keep)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float largest = most[half];
#pragma unroll
      for (int j = 0; j < Keys / 8; j++) largest = fmaxf(largest, fmaxf(score[j][2 * half], score[j][2 * half + 1]));
      largest = cuda::warp_max<4>(largest);
      // a row may see nothing of this tile, and of none before
      const float base = largest == -INFINITY ? 0 : largest, shift = base * exponent;
      keep[half] = cuda::exp2_fast((most[half] - base) * exponent);
      most[half] = largest;
      float added[2] = {0, 0};
#pragma unroll
      for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float& x = score[j][2 * half + e];
          x = cuda::exp2_fast(fmaf(x, exponent, -shift));
          added[e] += x;
        }
      total[half] = fmaf(total[half], keep[half], added[0] + added[1]);
    }
  }
};

/** One thread: the tiles of keys and values that work needs, in the order in which they are multiplied. */
template <int Width> __device__ void bring_keys(const WarpgroupForward& a, ForwardShared& shared, unsigned char* k, unsigned char* v) {
  using F = WarpgroupForward;
  constexpr unsigned bytes = F::keys * Width * 2;
  Turn<2> turn, keys, values;
  for (;; turn.next()) {
    shared.of_work.wait_filled(turn);
    const auto work = shared.work[turn.slot];
    cuda::arrive(shared.of_work.emptied[turn.slot]);
    if (work.g < 0) return;
    const auto tiles = a.parts.tiles<F::keys>(work.part);
    const size_t rows = a.parts.s.rows, head = static_cast<size_t>(work.g) * rows * cuda::Panels<Width>::pieces;
    const auto bring = [&](Ring<2>& ring, Turn<2>& at, unsigned char* to, const uint4* from, int t) {
      const auto tile = tiles[t];
      ring.wait_empty(at);
      cuda::arrive_expecting(ring.filled[at.slot], bytes);
      copy_tile<Width, F::keys>(to + at.slot * bytes, from + head, rows, static_cast<size_t>(tile.row), static_cast<unsigned>(tile.count), a.zeros, ring.filled[at.slot]);
      at.next();
    };
    for (int t = 0; t < tiles.count(); t++) {
      bring(shared.keys, keys, k, a.key, t);
      if (t > 0) bring(shared.values, values, v, a.value, t - 1);
    }
    bring(shared.values, values, v, a.value, tiles.count() - 1);
  }
}

/** Some warps, of which `thread` is a thread: what there is to do, and its queries. */
template <int Width> __device__ void bring_queries(const WarpgroupForward& a, ForwardShared& shared, int thread, unsigned char* q) {
  using F = WarpgroupForward;
  using P = cuda::Panels<Width>;
  const auto& s = a.parts.s;
  for (Turn<2> turn;; turn.next()) {
    if (thread == 0) {
      shared.of_work.wait_empty(turn);
      shared.work[turn.slot] = a.parts.take(a.taken);
      cuda::arrive(shared.of_work.filled[turn.slot]);
    }
    __syncwarp();
    shared.of_work.wait_filled(turn);
    const auto& work = shared.work[turn.slot];
    if (work.g < 0) return;
    const int lanes = a.parts.lanes(work.part);
    auto* to = reinterpret_cast<uint4*>(q + turn.slot * F::queries * Width * 2);
#pragma unroll 4
    for (int i = thread; i < F::queries * P::pieces; i += F::rounding) {
      const int query = i / P::pieces, piece = i % P::pieces;
      uint4 rounded{0, 0, 0, 0};
      if (query < lanes && 8 * static_cast<size_t>(piece) < s.width)
        rounded = rounded_piece(a.query + (work.part.begin + static_cast<size_t>(a.parts.row(work.part, query))) * s.query_stride + a.parts.head(work, query) * s.width + 8 * piece);
      to[P::at(F::queries, static_cast<size_t>(query), static_cast<unsigned>(piece), static_cast<unsigned>(query))] = rounded;
    }
    cuda::publish_to_products();
    cuda::arrive(shared.queries[turn.slot]);
  }
}

/** Two warpgroups: what there is to do, until nothing is left. */
template <int Width> __device__ void attend(const WarpgroupForward& a, ForwardShared& shared, const unsigned char* q, const unsigned char* k, const unsigned char* v) {
  using F = WarpgroupForward;
  using Queries = cuda::PanelTile<Width, F::queries>;
  using Keys = cuda::PanelTile<Width, F::keys>;
  const auto& s = a.parts.s;
  Turn<2> turn, keys, values;
  for (;; turn.next()) {
    shared.of_work.wait_filled(turn);
    const auto work = shared.work[turn.slot];
    if (work.g < 0) return;
    const auto tiles = a.parts.tiles<F::keys>(work.part);
    const int count = tiles.count(), lanes = a.parts.lanes(work.part);
    cuda::wait(shared.queries[turn.slot], turn.parity);
    const Queries queries(q + turn.slot * Queries::bytes);
    RunningSoftmax<F::keys> softmax;
    float score[F::keys / 8][4], sum[Width / 8][4] = {}, keep[2];
    uint32_t weights[F::keys / 16][4];
    const auto multiply_keys = [&] {
      cuda::multiply_rows(score, queries, threadIdx.x / 128 * 64, Keys(k + keys.slot * Keys::bytes));
      cuda::close_products();
    };
    const auto add_values = [&] {
      cuda::add_weighted(sum, weights, Keys(v + values.slot * Keys::bytes));
      cuda::close_products();
    };
    const auto weigh = [&](int t) {
      shared.keys.empty(keys), keys.next();
      if (t == count - 1) shared.of_work.empty(turn);
      a.parts.mask<F::keys>(work.part, tiles[t], score);
      softmax.take(score, a.exponent, keep);
    };
    shared.keys.wait_filled(keys);
    cuda::begin_products();
    multiply_keys();
    cuda::wait_for_products<0>();
    cuda::done(score);
    weigh(0);
    pack_weights(score, weights);
    for (int t = 1; t < count; t++) {
      shared.keys.wait_filled(keys);
      shared.values.wait_filled(values);
      cuda::begin_products();
      multiply_keys();
      add_values();
      cuda::wait_for_products<1>();
      cuda::done(score);
      weigh(t);
      cuda::wait_for_products<0>();
      cuda::done(sum);
      shared.values.empty(values), values.next();
      if (__any_sync(~0u, keep[0] != 1 || keep[1] != 1)) {
#pragma unroll
        for (int j = 0; j < Width / 8; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) sum[j][e] *= keep[e / 2];
      }
      pack_weights(score, weights);
    }
    shared.values.wait_filled(values);
    cuda::begin_products();
    add_values();
    cuda::wait_for_products<0>();
    cuda::done(sum);
    shared.values.empty(values), values.next();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float all = cuda::warp_sum<4>(softmax.total[half]);
      const int query = QueryParts::query(half);
      if (query >= lanes) continue;
      const size_t at = (work.part.begin + static_cast<size_t>(a.parts.row(work.part, query))) * s.heads + a.parts.head(work, query);
      if (a.narrow_out) put_rows<Width>(sum, half, 1 / all, s.width, a.narrow_out + at * s.width);
      else put_rows<Width>(sum, half, 1 / all, s.width, a.out + at * s.width);
      if (threadIdx.x % 4 == 0) a.log_sum_exp[at] = softmax.most[half] * a.scale + logf(all);
    }
  }
}

template <int Width> __global__ void __launch_bounds__(kWarpgroupThreads, 1) forward_on_warpgroups(WarpgroupForward a) {
  if constexpr (cuda::kWarpgroupCode) {
    using F = WarpgroupForward;
    __shared__ ForwardShared shared;
    unsigned char *q = cuda::aligned_shared(), *k = q + 2 * F::queries * Width * 2, *v = k + 2 * F::keys * Width * 2;
    if (threadIdx.x == 0) {
      shared.of_work.begin(1, kMultiplyingWarps + 1);  // emptied by who brings keys, too
      shared.keys.begin(1, kMultiplyingWarps), shared.values.begin(1, kMultiplyingWarps);
      for (auto& barrier : shared.queries) cuda::begin_barrier(barrier, F::rounding);
      cuda::publish_barriers();
    }
    __syncthreads();
    if (threadIdx.x >= 32 * kMultiplyingWarps) {
      cuda::give_registers<72>();
      const int thread = static_cast<int>(threadIdx.x) - 32 * kMultiplyingWarps;
      if (thread == 0) bring_keys<Width>(a, shared, k, v);
      else if (thread >= 32) bring_queries<Width>(a, shared, thread - 32, q);
    } else {
      cuda::take_registers<216>();
      attend<Width>(a, shared, q, k, v);
    }
  } else {
    cuda::fail_without_code();
  }
}

}  // namespace g2rpo::attention
