#include "../../backends/cuda/thin_product.h"
#include "op.h"

namespace g2rpo {

namespace {

using namespace cuda;

/** What a product left: the sums of its parts are added in their order. */
struct Sums {
  const float* at;
  size_t parts, rows, n;

  template <int W> __device__ Pack<float, W> of(size_t row, size_t column) const {
    const float* from = at + row * n + column;
    Pack<float, W> sum{};
#pragma unroll 4
    for (size_t p = 0; p < parts; p++) {
      const auto part = load<W>(from + p * rows * n);
#pragma unroll
      for (int w = 0; w < W; w++) sum.x[w] += part.x[w];
    }
    return sum;
  }
};

constexpr int kNormThreads = 512, kNormPacks = 4;  // up to 8192 numbers of a row

/** A block to a row: x += what a product left, and its RMS norm. */
__global__ void __launch_bounds__(kNormThreads) add_and_norm(Sums sums, size_t width, float epsilon, const float* weight, float* x, bf16* normed, float* last) {
  __shared__ float partial[32];
  const size_t row = blockIdx.x;
  float* const at = x + row * width;
  Pack<float, 4> held[kNormPacks];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kNormPacks; j++) {
    const size_t i = (j * kNormThreads + threadIdx.x) * 4;
    if (i >= width) break;
    held[j] = load<4>(at + i);
    if (sums.parts > 0) {
      const auto more = sums.of<4>(row, i);
#pragma unroll
      for (int w = 0; w < 4; w++) held[j].x[w] += more.x[w];
      store<4>(at + i, held[j]);
    }
#pragma unroll
    for (int w = 0; w < 4; w++) squares = fma(held[j].x[w], held[j].x[w], squares);
  }
  const float r = 1 / sqrt(block_sum(squares, partial) / static_cast<float>(width) + epsilon);
#pragma unroll
  for (int j = 0; j < kNormPacks; j++) {
    const size_t i = (j * kNormThreads + threadIdx.x) * 4;
    if (i >= width) break;
    const auto factor = load<4>(weight + i);
#pragma unroll
    for (int w = 0; w < 4; w++) held[j].x[w] = factor.x[w] * (held[j].x[w] * r);
    if (last) store<4>(last + row * width + i, held[j]);
    else put_arranged<4>(normed + row * width, i, held[j]);
  }
}

struct HeadArguments {
  Sums sums;
  DecodeHeads op;
};

/** A warp to each head of queries, keys and values of a row, E neighbours to a lane. */
template <int E> __global__ void finish_heads(HeadArguments a) {
  const auto& op = a.op;
  const size_t heads = op.sizes.heads, key_heads = op.sizes.key_heads, each = heads + 2 * key_heads, width = 32 * E, lane = threadIdx.x % 32;
  const size_t unit = global_index() / 32, row = unit / each, head = unit % each;
  if (row >= op.sizes.rows) return;
  auto x = a.sums.of<E>(row, head * width + lane * E);
  if (head < heads + key_heads) {
    float squares = 0;
#pragma unroll
    for (int e = 0; e < E; e++) squares = fma(x.x[e], x.x[e], squares);
    const float r = 1 / sqrt(warp_sum(squares) / static_cast<float>(width) + static_cast<float>(op.sizes.epsilon));
    const auto factor = load<E>((head < heads ? op.q_norm : op.k_norm) + lane * E);
    const size_t at = row * (width / 2) + lane % 16 * E;
    const auto cosine = load<E>(op.cosine + at), sine = load<E>(op.sine + at);
#pragma unroll
    for (int e = 0; e < E; e++) {
      const float own = factor.x[e] * (x.x[e] * r), other = __shfl_xor_sync(~0u, own, 16);
      x.x[e] = lane < 16 ? fma(own, cosine.x[e], -(other * sine.x[e])) : fma(own, cosine.x[e], other * sine.x[e]);
    }
  }
  const size_t keys = key_heads * width, slot = static_cast<size_t>(op.slots[row]);
  float* to = head < heads               ? op.query + (row * heads + head) * width
              : head < heads + key_heads ? op.keys + slot * keys + (head - heads) * width
                                         : op.values + slot * keys + (head - heads - key_heads) * width;
  store<E>(to + lane * E, x);
}

/** Four neighbours to a thread: the gate's columns stand before those that it opens. */
__global__ void gate_rows(Sums sums, size_t mlp, bf16* to) {
  const size_t i = global_index() * 4, row = i / mlp, column = i % mlp;
  if (row >= sums.rows) return;
  auto gate = sums.of<4>(row, column);
  const auto up = sums.of<4>(row, mlp + column);
#pragma unroll
  for (int w = 0; w < 4; w++) gate.x[w] = gate.x[w] * (1 / (1 + exp(-gate.x[w]))) * up.x[w];
  put_arranged<4>(to + row * mlp, column, gate);
}

Sums product(Stream& stream, const ThinProduct& p, float* sums) {
  multiply_thin(stream, p, sums);
  return {sums, p.parts(), p.m, p.n()};
}

void norm(Stream& stream, const DecodeSizes& s, const Sums& sums, const float* weight, float* x, bf16* normed, float* last) {
  launch(stream, add_and_norm, static_cast<unsigned>(s.rows), kNormThreads, sums, s.hidden, s.epsilon, weight, x, normed, last);
}

}  // namespace

KERNEL(cuda, DecodeBegin) {
  if (op.sizes.rows == 0) return;
  norm(stream, op.sizes, {}, op.norm, const_cast<float*>(op.x), op.normed, nullptr);
}

KERNEL(cuda, DecodeHeads) {
  const auto& s = op.sizes;
  if (s.rows == 0) return;
  const auto sums = product(stream, {s.rows, s.hidden, op.normed, {{op.q, s.query_size()}, {op.k, s.key_size()}, {op.v, s.key_size()}}}, op.sums);
  const auto kernel = s.width == 128 ? finish_heads<4> : s.width == 64 ? finish_heads<2> : finish_heads<1>;
  launch(stream, kernel, blocks_for(s.rows * (s.heads + 2 * s.key_heads) * 32, 128), 128u, HeadArguments{sums, op});
}

KERNEL(cuda, DecodeRest) {
  const auto& s = op.sizes;
  if (s.rows == 0) return;
  norm(stream, s, product(stream, {s.rows, s.query_size(), op.attended, {{op.o, s.hidden}}}, op.sums), op.post_norm, op.x, op.normed, nullptr);
  const auto sums = product(stream, {s.rows, s.hidden, op.normed, {{op.gate, s.mlp}, {op.up, s.mlp}}}, op.sums);
  launch(stream, gate_rows, blocks_for(s.rows * s.mlp / 4), kThreads, sums, s.mlp, op.narrow);
  norm(stream, s, product(stream, {s.rows, s.mlp, op.narrow, {{op.down, s.hidden}}}, op.sums), op.next_norm, op.x, op.normed, op.last);
}

}  // namespace g2rpo
