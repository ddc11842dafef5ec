// Softmax runs over tiles of keys as they come, so that no [S, S] matrix is there; a tile of queries has all heads that share a key head. The
// backward pass computes the scores again, once for the queries and once for the keys: nothing is added by several blocks.
#include <optional>

#include "../../backends/cuda/bf16_gemm.h"
#include "../../backends/cuda/groups.h"
#include "decode.cuh"
#include "tensor_backward.cuh"
#include "tensor_decode.cuh"
#include "tensor_forward.cuh"
#include "tiles.cuh"
#include "warpgroup_backward.cuh"
#include "warpgroup_forward.cuh"

namespace g2rpo {

namespace {

using namespace attention;
using cuda::dynamic_shared;

/** Whether a segment's prefix is none, or another one without a prefix; what is not is refused. */
struct KnownPrefix {
  const int32_t* prefix;
  size_t segments;
  Refusal known;
  __device__ bool operator()(size_t z) const {
    const int64_t p = prefix[z];
    const bool is = p == -1 || (p >= 0 && p < static_cast<int64_t>(segments) && p != static_cast<int64_t>(z) && prefix[p] == -1);
    if (!is) known.at(z);
    return is;
  }
};

template <class T> struct Arguments {
  const T *query, *key, *value, *d_output, *output, *log_sum_exp;
  Plan queries, keys;
  Shape s;
  T scale;
  T *out, *out_log_sum_exp, *d_query, *d_key, *d_value, *dots;

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
  T* q = reinterpret_cast<T*>(dynamic_shared);
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
  T* q = reinterpret_cast<T*>(dynamic_shared);
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
  T* k = reinterpret_cast<T*>(dynamic_shared);
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
      if (const auto d = static_cast<size_t>(x + 16 * j); d < a.s.width) a.d_key[to + d] = of_key[i][j], a.d_value[to + d] = of_value[i][j];
  }
}

template <class Op> bool shape_of(Stream& stream, const Op& op, const char* message, const char* too_wide, Shape& s) {
  s.rows = op.key.dim[0], s.heads = op.query.dim[1], s.width = op.query.dim[2], s.key_heads = op.key.dim[1];
  s.segments = op.segmentPrefix.size, s.causal = op.causal;
  s.query_stride = op.query_stride ? op.query_stride : s.heads * s.width;
  s.key_stride = op.key_stride ? op.key_stride : s.key_heads * s.width;
  s.group = s.key_heads ? s.heads / s.key_heads : 0;
  const bool grouped = s.rows == 0 || (s.group > 0 && s.heads % s.key_heads == 0);
  if (op.segmentStarts.size != s.segments + 1 || !grouped) return fail(stream, "SHAPE_MISMATCH", message), false;
  if (s.width > 256) return fail(stream, "INVALID_ARGUMENT", too_wide), false;
  return true;
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

/** What is the same in both directions of a call on tensor cores. */
template <class Op> TensorArguments tensor_arguments(const Op& op, const Shape& s) {
  TensorArguments a{};
  a.s = s, a.scale = static_cast<float>(op.scale), a.exponent = static_cast<float>(op.scale * kLog2E);
  return a;
}

/** What lies so many elements before, if there is anything. */
template <class T> T* behind(T* data, size_t elements) { return data ? data - elements : nullptr; }

void forward_by_warpgroups(Stream& stream, const Attention<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryParts::side, rising, known);
    if (s.rows * s.segments == 0) return;
    const Plan plan{op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    const RowsInPanels<Width> panels{plan};
    const RoundedHeads<Width, RowsInPanels<Width>> key(stream, op.key.data, s.key_stride, s.rows, s.key_heads, 1, s.width, panels), value(stream, op.value.data, s.key_stride, s.rows, s.key_heads, 1, s.width, panels);
    const Counters counters(stream);
    // rows are those of keys; nothing is touched of queries that are not there
    const WarpgroupForward a{op.query.data - s.keys_before * s.query_stride, key.get(), value.get(), counters.zeros(), counters.taken(0), {plan, s},
                             static_cast<float>(op.scale), static_cast<float>(op.scale * kLog2E), behind(op.output.data, s.keys_before * s.heads * s.width),
                             op.logSumExp.data - s.keys_before * s.heads, behind(op.narrow_output, s.keys_before * s.heads * s.width)};
    cuda::launch_shared(stream, forward_on_warpgroups<Width>, staying_blocks(queries.bound * s.key_heads), unsigned{kWarpgroupThreads}, WarpgroupForward::bytes<Width>(), a);
  });
}

void forward_in_bf16(Stream& stream, const Attention<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  TensorArguments a = tensor_arguments(op, s);
  a.out = behind(op.output.data, s.keys_before * s.heads * s.width), a.log_sum_exp = op.logSumExp.data - s.keys_before * s.heads;
  a.narrow_out = behind(op.narrow_output, s.keys_before * s.heads * s.width);
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, ForwardTile::queries, rising, known);
    if (s.rows * s.segments == 0) return;
    const RoundedHeads<Width> query(stream, op.query.data, s.query_stride, s.rows - s.keys_before, s.heads, s.group, s.width);
    const RoundedHeads<Width> key(stream, op.key.data, s.key_stride, s.rows, s.key_heads, 1, s.width);
    const RoundedHeads<Width> value(stream, op.value.data, s.key_stride, s.rows, s.key_heads, 1, s.width);
    a.query = query.get(), a.key = key.get(), a.value = value.get();
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    cuda::launch_shared(stream, forward_on_tensor_cores<Width>, queries.bound * static_cast<unsigned>(s.key_heads), ForwardTile::threads, ForwardTile::bytes<Width>(), a);
  });
}

template <int Width, class Layout>
void start_rounding_d_output(Stream& stream, const AttentionBackward<float>& op, const Shape& s, const Layout& layout, uint4* to, typename Layout::Number* numbers) {
  const auto start = [&]<class In>(const In* d_output, const In* output) {
    cuda::launch(stream, round_d_output<Width, Layout, In>, static_cast<unsigned>(s.rows), 256u, layout, d_output, output, op.logSumExp.data, static_cast<unsigned>(s.heads),
                 static_cast<unsigned>(s.group), static_cast<unsigned>(s.width), to, numbers);
  };
  if (op.narrow_dOutput) start(op.narrow_dOutput, op.narrow_output);
  else start(op.dOutput.data, op.output.data);
}

void backward_by_warpgroups(Stream& stream, const AttentionBackward<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryParts::side, rising, known);
    if (s.rows * s.segments == 0) return;
    const cuda::GroupTiles keys(stream, op.segmentStarts.data, s.segments, s.rows, 1, KeyPass<Width>::keys, rising, known);
    const Plan plan{op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    using Panels = RowsInPanels<Width>;
    const Panels panels{plan};
    const RoundedHeads<Width, Panels> query(stream, op.query.data, s.query_stride, s.rows, s.heads, s.group, s.width, panels);
    const RoundedHeads<Width, Panels> key(stream, op.key.data, s.key_stride, s.rows, s.key_heads, 1, s.width, panels);
    const RoundedHeads<Width, Panels> value(stream, op.value.data, s.key_stride, s.rows, s.key_heads, 1, s.width, panels);
    const cuda::Temporary<uint4> d_output(stream, s.rows * s.heads * Width / 8);
    const cuda::Temporary<float4> numbers(stream, s.rows * s.heads);
    start_rounding_d_output<Width>(stream, op, s, panels, d_output.get(), numbers.get());
    const Counters counters(stream);
    WarpgroupBackward a{query.get(), key.get(), value.get(), d_output.get(), counters.zeros(), numbers.get(), counters.taken(0), {plan, s},
                        {op.segmentStarts.data, op.segmentPrefix.data, keys.tiles.get(), s.segments}, static_cast<float>(op.scale), static_cast<float>(op.scale * kLog2E),
                        op.dQuery.data, op.dKey.data, op.dValue.data};
    cuda::launch_shared(stream, queries_on_warpgroups<Width>, staying_blocks(queries.bound * s.key_heads), unsigned{kWarpgroupThreads}, QueryPass<Width>::bytes, a);
    a.taken = counters.taken(1);
    cuda::launch_shared(stream, keys_on_warpgroups<Width>, staying_blocks(keys.bound * s.key_heads), unsigned{kWarpgroupThreads}, KeyPass<Width>::bytes, a);
  });
}

void backward_in_bf16(Stream& stream, const AttentionBackward<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  TensorArguments a = tensor_arguments(op, s);
  a.d_query = op.dQuery.data, a.d_key = op.dKey.data, a.d_value = op.dValue.data;
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryTile<Width>::queries, rising, known);
    if (s.rows * s.segments == 0) return;
    const cuda::GroupTiles keys(stream, op.segmentStarts.data, s.segments, s.rows, 1, KeyTile<Width>::keys, rising, known);
    const RoundedHeads<Width> query(stream, op.query.data, s.query_stride, s.rows, s.heads, s.group, s.width);
    const RoundedHeads<Width> key(stream, op.key.data, s.key_stride, s.rows, s.key_heads, 1, s.width);
    const RoundedHeads<Width> value(stream, op.value.data, s.key_stride, s.rows, s.key_heads, 1, s.width);
    const cuda::Temporary<uint4> d_output(stream, s.rows * s.heads * Width / 8);
    const cuda::Temporary<float2> numbers(stream, s.rows * s.heads);
    start_rounding_d_output<Width>(stream, op, s, RowsInOrder<Width>{}, d_output.get(), numbers.get());
    a.query = query.get(), a.key = key.get(), a.value = value.get(), a.d_output = d_output.get(), a.numbers = numbers.get();
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    a.keys = {op.segmentStarts.data, op.segmentPrefix.data, keys.tiles.get(), s.segments};
    const auto heads = static_cast<unsigned>(s.key_heads);
    cuda::launch_shared(stream, queries_on_tensor_cores<Width>, queries.bound * heads, QueryTile<Width>::threads, QueryTile<Width>::bytes, a);
    cuda::launch_shared(stream, keys_on_tensor_cores<Width>, keys.bound * heads, KeyTile<Width>::threads, KeyTile<Width>::bytes, a);
  });
}

struct Same {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = in[0]; }
};

/** With the tables that `a` has. */
template <class T> void decode(Stream& stream, const DecodeAttention<T>& op, DecodeArguments<T>& a) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2], key_heads = op.key.dim[2];
  if (batch * width == 0) return;
  a.query = op.query.data, a.key = op.key.data, a.value = op.value.data, a.output = op.output.data;
  a.heads = heads, a.key_heads = key_heads, a.group = static_cast<uint32_t>(heads / key_heads), a.width = width;
  a.scale = static_cast<T>(op.scale * kLog2E);
  a.prefix_splits = cuda::blocks_for(a.tables.prefix_room * a.tables.page, kSplit);
  a.splits = a.prefix_splits + cuda::blocks_for(a.tables.own_room * a.tables.page, kSplit);
  const size_t of_row = heads * a.splits, possible = kPartialBytes / (of_row * width * sizeof(T) + 1) + 1, rows = possible < batch ? possible : batch;
  std::optional<cuda::Temporary<T>> own;
  if (!op.workspace) own.emplace(stream, rows * of_row * (width + 2));
  a.partial = own ? own->get() : op.workspace, a.most = a.partial + rows * of_row * width, a.sum = a.most + rows * of_row;
  for (; a.first < batch; a.first += rows) {
    a.rows = batch - a.first < rows ? batch - a.first : rows;
    bool met = a.splits == 0;
    if constexpr (std::is_same_v<T, float>)
      if (!met && op.in_bf16 && decodes_on_tensor_cores(a)) meet_on_tensor_cores(stream, a), met = true;
    const size_t units = a.rows * ((a.group + kDecodeQueries - 1) / kDecodeQueries);
    cuda::with_pack<T>(width, cuda::aligned(a.key, a.value, a.output, a.partial), [&]<int W>(std::integral_constant<int, W>) {
      with_slots<T, W>(width, [&]<class S>() {
        const dim3 grid(cuda::blocks_for(units, kDecodeWarps), static_cast<unsigned>(a.splits), static_cast<unsigned>(key_heads));
        if (!met) cuda::launch(stream, meet_splits<T, S>, grid, 32 * kDecodeWarps, a);
      });
      cuda::launch(stream, combine_splits<T, W>, cuda::blocks_for(32 * a.rows * heads), cuda::kThreads, a);
    });
  }
}

}  // namespace

KERNEL_REAL(cuda, Attention) {
  Shape s;
  if (!shape_of(stream, op, "attention: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
                "attention: D must be at most 256 on a GPU", s))
    return;
  const auto rising = cuda::refusal(stream, "INVALID_ARGUMENT", "attention: segmentStarts must rise from 0 to the number of rows");
  const KnownPrefix known{op.segmentPrefix.data, s.segments,
                          cuda::refusal(stream, "INVALID_ARGUMENT", "attention: segmentPrefix must be -1 or another segment that has no prefix itself")};
  s.keys_before = op.keys_before;
  if constexpr (std::is_same_v<T, float>)
    if (op.in_bf16 && for_tensor_cores(s, op.scale, op.query.data, op.key.data, op.value.data, op.output.data, op.narrow_output))
      return cuda::has_warpgroups(stream) ? forward_by_warpgroups(stream, op, s, rising, known) : forward_in_bf16(stream, op, s, rising, known);
  const size_t results = (s.rows - s.keys_before) * s.heads * s.width;
  const cuda::Temporary<T> wide(stream, op.narrow_output ? results : 0);
  T* const output = op.narrow_output ? wide.get() : op.output.data;
  Arguments<T> a{};
  // rows are those of keys; nothing is touched of queries that are not there
  a.query = op.query.data - s.keys_before * s.query_stride, a.key = op.key.data, a.value = op.value.data;
  a.out = output - s.keys_before * s.heads * s.width, a.out_log_sum_exp = op.logSumExp.data - s.keys_before * s.heads;
  a.s = s, a.scale = static_cast<T>(op.scale);
  with_width(s.width, [&]<int Width>() {
    using S = Tile<T, Width>;
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, S::side, rising, known);
    if (s.rows * s.segments == 0) return;
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    cuda::launch_shared(stream, forward<T, Width>, dim3(queries.bound, static_cast<unsigned>(s.key_heads)), 256u, S::bytes(3, 1), a);
  });
  if constexpr (std::is_same_v<T, float>)
    if (op.narrow_output) cuda::round_elements(stream, output, results, op.narrow_output);
}

KERNEL_REAL(cuda, AttentionBackward) {
  Shape s;
  if (!shape_of(stream, op, "attention_backward: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
                "attention_backward: D must be at most 256 on a GPU", s))
    return;
  const auto rising = cuda::refusal(stream, "INVALID_ARGUMENT", "attention_backward: segmentStarts must rise from 0 to the number of rows");
  const KnownPrefix known{op.segmentPrefix.data, s.segments,
                          cuda::refusal(stream, "INVALID_ARGUMENT", "attention_backward: segmentPrefix must be -1 or another segment that has no prefix itself")};
  if constexpr (std::is_same_v<T, float>)
    if (op.in_bf16 && for_tensor_cores(s, op.scale, op.query.data, op.key.data, op.value.data, op.dOutput.data, op.output.data, op.dQuery.data, op.dKey.data, op.dValue.data,
                                       op.narrow_dOutput, op.narrow_output))
      return cuda::has_warpgroups(stream) ? backward_by_warpgroups(stream, op, s, rising, known) : backward_in_bf16(stream, op, s, rising, known);
  cuda::Temporary<T> dots(stream, s.rows * s.heads);
  const size_t results = s.rows * s.heads * s.width;
  const cuda::Temporary<T> wide(stream, op.narrow_output ? 2 * results : 0);
  if constexpr (std::is_same_v<T, float>)
    if (op.narrow_output) {
      cuda::map<bf16, 1, 1>(stream, results, cuda::Arrays<bf16, 1, 1, float>{{op.narrow_dOutput}, {wide.get()}}, Same{});
      cuda::map<bf16, 1, 1>(stream, results, cuda::Arrays<bf16, 1, 1, float>{{op.narrow_output}, {wide.get() + results}}, Same{});
    }
  Arguments<T> a{};
  a.query = op.query.data, a.key = op.key.data, a.value = op.value.data;
  a.d_output = op.narrow_output ? wide.get() : op.dOutput.data, a.output = op.narrow_output ? wide.get() + results : op.output.data;
  a.log_sum_exp = op.logSumExp.data, a.d_query = op.dQuery.data, a.d_key = op.dKey.data, a.d_value = op.dValue.data, a.dots = dots.get();
  a.s = s, a.scale = static_cast<T>(op.scale);
  with_width(s.width, [&]<int Width>() {
    using S = Tile<T, Width>;
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, S::side, rising, known);
    if (s.rows * s.segments == 0) return;
    const cuda::GroupTiles keys(stream, op.segmentStarts.data, s.segments, s.rows, 1, S::side, rising, known);
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    a.keys = {op.segmentStarts.data, op.segmentPrefix.data, keys.tiles.get(), s.segments};
    const auto heads = static_cast<unsigned>(s.key_heads);
    cuda::launch(stream, output_dots<T>, cuda::blocks_for(32 * s.rows * s.heads), cuda::kThreads, a);
    cuda::launch_shared(stream, backward_queries<T, Width>, dim3(queries.bound, heads), 256u, S::bytes(4, 1), a);
    cuda::launch_shared(stream, backward_keys<T, Width>, dim3(keys.bound, heads), 256u, S::bytes(4, 2), a);
  });
}

KERNEL_REAL(cuda, DecodeAttention) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2], key_heads = op.key.dim[2];
  if (batch > 0 && (key_heads == 0 || heads == 0 || heads % key_heads != 0)) return fail(stream, "SHAPE_MISMATCH", kBadGroups);
  if (width > 256) return fail(stream, "INVALID_ARGUMENT", "decode_attention: D must be at most 256 on a GPU");
  DecodeArguments<T> a{};
  a.tables = {op.prefix.data, op.prefixPages.data, op.prefixLength.data, op.ownPages.data, op.ownLength.data, op.prefixPages.dim[0], op.prefixPages.dim[1],
              op.ownPages.dim[1], op.key.dim[0], static_cast<uint32_t>(op.key.dim[1]), nullptr};
  if (op.checked) return decode(stream, op, a);
  const auto of_prefixes = cuda::refusal(stream, "INVALID_ARGUMENT", kBadPrefixTable);
  const auto of_rows = cuda::refusal(stream, "INVALID_ARGUMENT", [](size_t, const auto& values) -> std::string {
    return values[0] == static_cast<int32_t>(BadRow::prefix) ? kBadPrefix : kBadOwnTable;
  });
  cuda::Temporary<int32_t> wrong(stream, 1);
  wrong.fill_bytes(0, 1);
  a.tables.wrong = wrong.get();
  if (a.tables.prefixes + batch == 0) return;
  cuda::launch(stream, check_tables, cuda::blocks_for(32 * (a.tables.prefixes + batch)), cuda::kThreads, a.tables, batch, of_prefixes, of_rows, wrong.get());
  decode(stream, op, a);
}

}  // namespace g2rpo
