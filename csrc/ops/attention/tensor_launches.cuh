// How attention on tensor cores is started: operands rounded and arranged, then tiles of queries, and of keys where there are gradients.
#pragma once
#include "tensor_backward.cuh"
#include "tensor_forward.cuh"
#include "warpgroup_backward.cuh"
#include "warpgroup_forward.cuh"

namespace g2rpo::attention {

/** What is the same in both directions of a call on tensor cores. */
template <class Op> TensorArguments tensor_arguments(const Op& op, const Shape& s) {
  TensorArguments a{};
  a.s = s, a.scale = static_cast<float>(op.scale), a.exponent = static_cast<float>(op.scale * kLog2E);
  return a;
}

inline WideHeads queries_of(const float* query, const Shape& s) { return {query, s.query_stride, s.rows - s.keys_before, s.heads, s.group}; }
inline WideHeads keys_of(const float* keys, const Shape& s) { return {keys, s.key_stride, s.rows, s.key_heads, 1}; }

/** What lies so many elements before, if there is anything. */
template <class T> T* behind(T* data, size_t elements) { return data ? data - elements : nullptr; }

inline void forward_by_warpgroups(Stream& stream, const Attention<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryParts::side, rising, known);
    if (s.rows * s.segments == 0) return;
    const Plan plan{op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    const RowsInPanels<Width> panels{plan};
    const auto rounded = rounded_heads<Width>(stream, s.width, panels, {keys_of(op.key.data, s), keys_of(op.value.data, s)});
    const Counters counters(stream);
    // rows are those of keys; nothing is touched of queries that are not there
    const WarpgroupForward a{op.query.data - s.keys_before * s.query_stride, rounded[0], rounded[1], counters.zeros(), counters.taken(0), {plan, s},
                             static_cast<float>(op.scale), static_cast<float>(op.scale * kLog2E), behind(op.output.data, s.keys_before * s.heads * s.width),
                             op.logSumExp.data - s.keys_before * s.heads, behind(op.narrow_output, s.keys_before * s.heads * s.width)};
    cuda::launch_shared(stream, forward_on_warpgroups<Width>, staying_blocks(queries.bound * s.key_heads), unsigned{kWarpgroupThreads}, WarpgroupForward::bytes<Width>(), a);
  });
}

inline void forward_in_bf16(Stream& stream, const Attention<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  TensorArguments a = tensor_arguments(op, s);
  a.out = behind(op.output.data, s.keys_before * s.heads * s.width), a.log_sum_exp = op.logSumExp.data - s.keys_before * s.heads;
  a.narrow_out = behind(op.narrow_output, s.keys_before * s.heads * s.width);
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, ForwardTile::queries, rising, known);
    if (s.rows * s.segments == 0) return;
    const auto rounded = rounded_heads<Width>(stream, s.width, RowsInOrder<Width>{}, {queries_of(op.query.data, s), keys_of(op.key.data, s), keys_of(op.value.data, s)});
    a.query = rounded[0], a.key = rounded[1], a.value = rounded[2];
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    cuda::launch_shared(stream, forward_on_tensor_cores<Width>, queries.bound * static_cast<unsigned>(s.key_heads), ForwardTile::threads, ForwardTile::bytes<Width>(), a);
  });
}

template <int Width, class Layout>
inline void start_rounding_d_output(Stream& stream, const AttentionBackward<float>& op, const Shape& s, const Layout& layout, uint4* to, typename Layout::Number* numbers) {
  const auto start = [&]<class In>(const In* d_output, const In* output) {
    cuda::launch(stream, round_d_output<Width, Layout, In>, static_cast<unsigned>(s.rows), 256u, layout, d_output, output, op.logSumExp.data, static_cast<unsigned>(s.heads),
                 static_cast<unsigned>(s.group), static_cast<unsigned>(s.width), to, numbers);
  };
  if (op.narrow_dOutput) start(op.narrow_dOutput, op.narrow_output);
  else start(op.dOutput.data, op.output.data);
}

inline void backward_by_warpgroups(Stream& stream, const AttentionBackward<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryParts::side, rising, known);
    if (s.rows * s.segments == 0) return;
    const cuda::GroupTiles keys(stream, op.segmentStarts.data, s.segments, s.rows, 1, KeyPass<Width>::keys, rising, known);
    const Plan plan{op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    const RowsInPanels<Width> panels{plan};
    const auto rounded = rounded_heads<Width>(stream, s.width, panels, {queries_of(op.query.data, s), keys_of(op.key.data, s), keys_of(op.value.data, s)});
    const cuda::Temporary<uint4> d_output(stream, s.rows * s.heads * Width / 8);
    const cuda::Temporary<float4> numbers(stream, s.rows * s.heads);
    start_rounding_d_output<Width>(stream, op, s, panels, d_output.get(), numbers.get());
    const Counters counters(stream);
    WarpgroupBackward a{rounded[0], rounded[1], rounded[2], d_output.get(), counters.zeros(), numbers.get(), counters.taken(0), {plan, s},
                        {op.segmentStarts.data, op.segmentPrefix.data, keys.tiles.get(), s.segments}, static_cast<float>(op.scale), static_cast<float>(op.scale * kLog2E),
                        op.dQuery.data, op.dKey.data, op.dValue.data, op.narrow_dValue};
    cuda::launch_shared(stream, queries_on_warpgroups<Width>, staying_blocks(queries.bound * s.key_heads), unsigned{kWarpgroupThreads}, QueryPass<Width>::bytes, a);
    a.taken = counters.taken(1);
    cuda::launch_shared(stream, keys_on_warpgroups<Width>, staying_blocks(keys.bound * s.key_heads), unsigned{kWarpgroupThreads}, KeyPass<Width>::bytes, a);
  });
}

inline void backward_in_bf16(Stream& stream, const AttentionBackward<float>& op, const Shape& s, Refusal rising, const KnownPrefix& known) {
  TensorArguments a = tensor_arguments(op, s);
  a.d_query = op.dQuery.data, a.d_key = op.dKey.data, a.d_value = op.dValue.data, a.narrow_d_value = op.narrow_dValue;
  with_tensor_width(s.width, [&]<int Width>() {
    const cuda::GroupTiles queries(stream, op.segmentStarts.data, s.segments, s.rows, s.group, QueryTile<Width>::queries, rising, known);
    if (s.rows * s.segments == 0) return;
    const cuda::GroupTiles keys(stream, op.segmentStarts.data, s.segments, s.rows, 1, KeyTile<Width>::keys, rising, known);
    const auto rounded = rounded_heads<Width>(stream, s.width, RowsInOrder<Width>{}, {queries_of(op.query.data, s), keys_of(op.key.data, s), keys_of(op.value.data, s)});
    const cuda::Temporary<uint4> d_output(stream, s.rows * s.heads * Width / 8);
    const cuda::Temporary<float2> numbers(stream, s.rows * s.heads);
    start_rounding_d_output<Width>(stream, op, s, RowsInOrder<Width>{}, d_output.get(), numbers.get());
    a.query = rounded[0], a.key = rounded[1], a.value = rounded[2], a.d_output = d_output.get(), a.numbers = numbers.get();
    a.queries = {op.segmentStarts.data, op.segmentPrefix.data, queries.tiles.get(), s.segments};
    a.keys = {op.segmentStarts.data, op.segmentPrefix.data, keys.tiles.get(), s.segments};
    const auto heads = static_cast<unsigned>(s.key_heads);
    cuda::launch_shared(stream, queries_on_tensor_cores<Width>, queries.bound * heads, QueryTile<Width>::threads, QueryTile<Width>::bytes, a);
    cuda::launch_shared(stream, keys_on_tensor_cores<Width>, keys.bound * heads, KeyTile<Width>::threads, KeyTile<Width>::bytes, a);
  });
}

}  // namespace g2rpo::attention
