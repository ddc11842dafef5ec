// Attention in f32 and f64, as they are: a block to a tile of queries or of keys. The backward pass computes the scores again, once for the queries and once
// for the keys: nothing is added by several blocks.
#pragma once
#include "tiles.cuh"

namespace g2rpo::attention {

template <class T> struct Arguments {
  const T *query, *key, *value, *d_output, *output, *log_sum_exp;
  Plan queries, keys;
  Shape s;
  T scale;
  T *out, *out_log_sum_exp, *d_query, *d_key, *d_value, *dots;
  bf16* narrow_d_value;  // in the place of d_value, where it is there

  // the row of a query of a part, and its head
  __device__ size_t row(const Part& p, size_t lane) const { return p.begin + (p.first + lane) / s.group; }
  __device__ size_t head(size_t g, const Part& p, size_t lane) const { return g * s.group + (p.first + lane) % s.group; }
  __device__ size_t in_query(size_t g, const Part& p, size_t lane) const { return row(p, lane) * s.query_stride + head(g, p, lane) * s.width; }
  __device__ size_t in_output(size_t g, const Part& p, size_t lane) const { return (row(p, lane) * s.heads + head(g, p, lane)) * s.width; }
  __device__ size_t in_key(size_t row, size_t g) const { return row * s.key_stride + g * s.width; }
  /** How many of the keys [first, first + count) a query of the part sees; `own`: they are of its own segment. */
  __device__ size_t seen(const Part& p, size_t lane, size_t first, size_t count, bool own) const {
    if (!own || !s.causal) return count;
    const size_t all = row(p, lane) + 1;
    return all <= first ? 0 : all - first < count ? all - first : count;
  }
};

/** Calls f(first key, number of keys, whether they are of the queries' own segment) for the tiles of keys that a part's queries see. */
template <class T, class F> __device__ void each_key_tile(const Arguments<T>& a, const Part& p, size_t lanes, size_t side, F&& f) {
  for (size_t k = p.prefix_begin; k < p.prefix_end; k += side) f(k, p.prefix_end - k < side ? p.prefix_end - k : side, false);
  const size_t end = a.s.causal ? a.row(p, lanes - 1) + 1 : p.end;
  for (size_t k = p.begin; k < end; k += side) f(k, end - k < side ? end - k : side, true);
}

template <class T, int Width> __global__ void __launch_bounds__(256) forward(Arguments<T> a) {
  using S = Tile<T, Width>;
  constexpr size_t side = S::side;
  Part p;
  // the last tiles of long segments see most and go first
  if (!a.queries.part(gridDim.x - 1 - blockIdx.x, side, p) || p.begin < a.s.keys_before) return;
  const size_t g = blockIdx.y, lanes = p.lanes(a.s.group, side);
  T* q = reinterpret_cast<T*>(cuda::dynamic_shared);
  T *k = q + S::side * S::stride, *v = k + S::side * S::stride, *scores = v + S::side * S::stride;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  take<T, Width>(q, lanes, a.s.width, [&](size_t l) { return a.query + a.in_query(g, p, l); });
  T most[S::per], total[S::per], sum[S::per][S::columns];
  for (int i = 0; i < S::per; i++) {
    most[i] = -INFINITY, total[i] = 0;
    for (int j = 0; j < S::columns; j++) sum[i][j] = 0;
  }
  each_key_tile(a, p, lanes, side, [&](size_t first, size_t count, bool own) {
    __syncthreads();
    take<T, Width>(k, count, a.s.width, [&](size_t r) { return a.key + a.in_key(first + r, g); });
    take<T, Width>(v, count, a.s.width, [&](size_t r) { return a.value + a.in_key(first + r, g); });
    __syncthreads();
    T score[S::per][S::per];
    rows_times_rows<T, Width>(q, k, score);
#pragma unroll
    for (int i = 0; i < S::per; i++) {
      const auto lane = static_cast<size_t>(y * S::per + i);
      const size_t limit = own && a.s.causal ? a.row(p, lane < lanes ? lane : lanes - 1) + 1 : first + count;
      T largest = -INFINITY;
#pragma unroll
      for (int j = 0; j < S::per; j++) {
        const size_t at = first + static_cast<size_t>(x + 16 * j);
        score[i][j] = at < first + count && at < limit ? score[i][j] * a.scale : -INFINITY;
        largest = score[i][j] > largest ? score[i][j] : largest;
      }
      largest = cuda::warp_max<16>(largest);
      const T now = largest > most[i] ? largest : most[i];
      // a row may see nothing of this tile, and of none before
      const T keep = now == -INFINITY ? T(1) : exp(most[i] - now);
      T added = 0;
#pragma unroll
      for (int j = 0; j < S::per; j++) {
        const T weight = score[i][j] == -INFINITY ? T(0) : exp(score[i][j] - now);
        added += weight;
        scores[(y * S::per + i) * S::scores + x + 16 * j] = weight;
      }
      total[i] = total[i] * keep + cuda::warp_sum<16>(added);
      most[i] = now;
#pragma unroll
      for (int j = 0; j < S::columns; j++) sum[i][j] *= keep;
    }
    __syncwarp();  // the threads of a row are of one warp
    scores_times<T, Width, false>(scores, v, sum);
  });
#pragma unroll
  for (int i = 0; i < S::per; i++) {
    const auto lane = static_cast<size_t>(y * S::per + i);
    if (lane >= lanes) continue;
    T* to = a.out + a.in_output(g, p, lane);
#pragma unroll
    for (int j = 0; j < S::columns; j++)
      if (const auto d = static_cast<size_t>(x + 16 * j); d < a.s.width) to[d] = sum[i][j] / total[i];
    if (x == 0) a.out_log_sum_exp[a.row(p, lane) * a.s.heads + a.head(g, p, lane)] = most[i] + log(total[i]);
  }
}

/** dots[row · heads + head] = dOutput · output: a warp to each. */
template <class T> __global__ void output_dots(Arguments<T> a) {
  const size_t i = cuda::global_index() / 32, lane = threadIdx.x % 32;
  if (i >= a.s.rows * a.s.heads) return;
  T sum = 0;
  for (size_t d = lane; d < a.s.width; d += 32) sum = fma(a.d_output[i * a.s.width + d], a.output[i * a.s.width + d], sum);
  sum = cuda::warp_sum(sum);
  if (lane == 0) a.dots[i] = sum;
}

/**
 * Of a tile of queries and one of the keys [first, first + count): weights[query][key] unless they are null and, times the scale, their gradients.
 */
template <class T, int Width>
__device__ void weights_and_slopes(const Arguments<T>& a, const Part& p, size_t g, size_t lanes, const T* q, const T* k, const T* d_out, const T* v,
                                   size_t first, size_t count, bool own, T* weights, T* slopes) {
  using S = Tile<T, Width>;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  T score[S::per][S::per], d_weight[S::per][S::per];
  rows_times_rows<T, Width>(q, k, score);
  rows_times_rows<T, Width>(d_out, v, d_weight);
#pragma unroll
  for (int i = 0; i < S::per; i++) {
    const auto lane = static_cast<size_t>(y * S::per + i);
    const bool there = lane < lanes;
    const size_t at = there ? a.row(p, lane) * a.s.heads + a.head(g, p, lane) : 0;
    const T log_sum = there ? a.log_sum_exp[at] : T(0), dot = there ? a.dots[at] : T(0);
    const size_t end = there ? a.seen(p, lane, first, count, own) : 0;
#pragma unroll
    for (int j = 0; j < S::per; j++) {
      const int column = x + 16 * j;
      const T weight = static_cast<size_t>(column) < end ? exp(score[i][j] * a.scale - log_sum) : T(0);
      const int to = static_cast<int>(lane) * S::scores + column;
      if (weights) weights[to] = weight;
      slopes[to] = weight * (d_weight[i][j] - dot) * a.scale;
    }
  }
}

template <class T, int Width> __global__ void __launch_bounds__(256) backward_queries(Arguments<T> a) {
  using S = Tile<T, Width>;
  constexpr size_t side = S::side;
  Part p;
  if (!a.queries.part(gridDim.x - 1 - blockIdx.x, side, p)) return;
  const size_t g = blockIdx.y, lanes = p.lanes(a.s.group, side);
  T* q = reinterpret_cast<T*>(cuda::dynamic_shared);
  T *d_out = q + S::side * S::stride, *k = d_out + S::side * S::stride, *v = k + S::side * S::stride, *slopes = v + S::side * S::stride;
  take<T, Width>(q, lanes, a.s.width, [&](size_t l) { return a.query + a.in_query(g, p, l); });
  take<T, Width>(d_out, lanes, a.s.width, [&](size_t l) { return a.d_output + a.in_output(g, p, l); });
  T sum[S::per][S::columns] = {};
  each_key_tile(a, p, lanes, side, [&](size_t first, size_t count, bool own) {
    __syncthreads();
    take<T, Width>(k, count, a.s.width, [&](size_t r) { return a.key + a.in_key(first + r, g); });
    take<T, Width>(v, count, a.s.width, [&](size_t r) { return a.value + a.in_key(first + r, g); });
    __syncthreads();
    weights_and_slopes<T, Width>(a, p, g, lanes, q, k, d_out, v, first, count, own, nullptr, slopes);
    __syncwarp();
    scores_times<T, Width, false>(slopes, k, sum);
  });
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < S::per; i++) {
    const auto lane = static_cast<size_t>(y * S::per + i);
    if (lane >= lanes) continue;
    T* to = a.d_query + a.in_query(g, p, lane);
#pragma unroll
    for (int j = 0; j < S::columns; j++)
      if (const auto d = static_cast<size_t>(x + 16 * j); d < a.s.width) to[d] = sum[i][j];
  }
}

template <class T, int Width> __global__ void __launch_bounds__(256) backward_keys(Arguments<T> a) {
  using S = Tile<T, Width>;
  constexpr size_t side = S::side;
  Part keys;
  if (!a.keys.part(blockIdx.x, side, keys)) return;
  const size_t g = blockIdx.y, first = keys.begin + keys.first, count = keys.end - first < side ? keys.end - first : side;
  T* k = reinterpret_cast<T*>(cuda::dynamic_shared);
  T *v = k + S::side * S::stride, *q = v + S::side * S::stride, *d_out = q + S::side * S::stride;
  T *weights = d_out + S::side * S::stride, *slopes = weights + S::side * S::scores;
  take<T, Width>(k, count, a.s.width, [&](size_t r) { return a.key + a.in_key(first + r, g); });
  take<T, Width>(v, count, a.s.width, [&](size_t r) { return a.value + a.in_key(first + r, g); });
  T of_key[S::per][S::columns] = {}, of_value[S::per][S::columns] = {};
  // the queries of the keys' own segment, then those of segments that see it as their prefix, in order
  for (size_t z = 0; z <= a.s.segments; z++) {
    const bool own = z == 0;
    const size_t segment = own ? keys.segment : z - 1;
    if (!own && a.queries.prefix[segment] != static_cast<int32_t>(keys.segment)) continue;
    Part p;
    p.begin = static_cast<size_t>(a.queries.starts[segment]), p.end = static_cast<size_t>(a.queries.starts[segment + 1]);
    // of one's own none that comes before the first key sees any
    p.first = own && a.s.causal ? (first - p.begin) * a.s.group : 0;
    for (; p.first < (p.end - p.begin) * a.s.group; p.first += side) {
      const size_t lanes = p.lanes(a.s.group, side);
      __syncthreads();
      take<T, Width>(q, lanes, a.s.width, [&](size_t l) { return a.query + a.in_query(g, p, l); });
      take<T, Width>(d_out, lanes, a.s.width, [&](size_t l) { return a.d_output + a.in_output(g, p, l); });
      __syncthreads();
      weights_and_slopes<T, Width>(a, p, g, lanes, q, k, d_out, v, first, count, own, weights, slopes);
      __syncthreads();
      scores_times<T, Width, true>(weights, d_out, of_value);
      scores_times<T, Width, true>(slopes, q, of_key);
    }
  }
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < S::per; i++) {
    const auto row = static_cast<size_t>(y * S::per + i);
    if (row >= count) continue;
    const size_t to = a.in_key(first + row, g);
#pragma unroll
    for (int j = 0; j < S::columns; j++)
      if (const auto d = static_cast<size_t>(x + 16 * j); d < a.s.width) {
        a.d_key[to + d] = of_key[i][j];
        if (!a.narrow_d_value) a.d_value[to + d] = of_value[i][j];
        else if constexpr (sizeof(T) == 4) cuda::store_as<1>(a.narrow_d_value + to + d, cuda::Pack<T, 1>{of_value[i][j]});
      }
  }
}

/** The launches of a call, with the head size rounded up. */
template <class F> void with_width(size_t width, F&& f) {
  if (width <= 16) f.template operator()<16>();
  else if (width <= 32) f.template operator()<32>();
  else if (width <= 64) f.template operator()<64>();
  else if (width <= 80) f.template operator()<80>();
  else if (width <= 128) f.template operator()<128>();
  else f.template operator()<256>();
}

}  // namespace g2rpo::attention
