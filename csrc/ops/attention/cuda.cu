// Softmax runs over tiles of keys as they come, so that no [S, S] matrix is there; a tile of queries has all heads that share a key head.
#include <optional>

#include "../../backends/cuda/bf16_gemm.h"
#include "decode.cuh"
#include "exact.cuh"
#include "tensor_decode.cuh"
#include "tensor_launches.cuh"

namespace g2rpo {

namespace {

using namespace attention;

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

struct Same {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = in[0]; }
};

/** With the tables that `a` has. */
template <class T> void decode(Stream& stream, const DecodeAttention<T>& op, DecodeArguments<T>& a) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2], key_heads = op.key.dim[2];
  if (batch * width == 0) return;
  a.query = op.query.data, a.key = op.key.data, a.value = op.value.data, a.output = op.output.data, a.arranged = op.arranged_output;
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
  a.log_sum_exp = op.logSumExp.data, a.d_query = op.dQuery.data, a.d_key = op.dKey.data, a.d_value = op.dValue.data, a.narrow_d_value = op.narrow_dValue, a.dots = dots.get();
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
