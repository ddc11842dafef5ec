#include "../../backends/cuda/indices.h"
#include "messages.h"

namespace g2rpo {

namespace {

/** owner[row] is the first k that names it. */
__global__ void find_owners(cuda::RowIndices rows, size_t count, int32_t* owner) {
  const size_t k = cuda::global_index();
  size_t row;
  if (k < count && rows.find(k, row)) atomicMin(owner + row, static_cast<int32_t>(k));
}

/** x[rows[k]] = features[source[k]], or its sum with it. */
template <class T, class Op> void pair_up(Stream& stream, const Op& op, bool add) {
  const cuda::RowIndices rows{op.rows.data, cuda::index_range(stream, op.kName, "rows", op.x.dim[0])};
  const cuda::RowIndices source{op.source.data, cuda::index_range(stream, op.kName, "source", op.features.dim[0])};
  const auto twice = cuda::refusal(stream, "INVALID_ARGUMENT", [](size_t k, const auto& values) -> std::string { return TwiceMessage(Op::kName, values[0], k).text; });
  if (op.rows.size == 0) return;
  cuda::Temporary<int32_t> owner(stream, op.x.dim[0]);
  owner.fill_bytes(0x7f, op.x.dim[0]);
  cuda::launch(stream, find_owners, cuda::blocks_for(op.rows.size), cuda::kThreads, rows, op.rows.size, owner.get());
  cuda::move_rows<T>(stream, {op.features.data, source, op.x.data, rows, op.rows.size, op.x.dim[1], add, owner.get(), twice});
}

}  // namespace

KERNEL_REAL(cuda, VisualSplice) { pair_up<T>(stream, op, false); }
KERNEL_REAL(cuda, DeepstackAdd) { pair_up<T>(stream, op, true); }

KERNEL_REAL(cuda, VisualGather) {
  const cuda::RowIndices rows{op.rows.data, cuda::index_range(stream, op.kName, "rows", op.dX.dim[0])};
  const cuda::RowIndices source{op.source.data, cuda::index_range(stream, op.kName, "source", op.dFeatures.dim[0])};
  cuda::add_rows<T>(stream, op.dX.data, rows, op.dFeatures.data, source, op.rows.size, op.dX.dim[1]);
}

KERNEL_REAL(cuda, GatherRows) {
  const cuda::RowIndices rows{op.rows.data, cuda::index_range(stream, op.kName, "rows", op.x.dim[0])};
  cuda::move_rows<T>(stream, {op.x.data, rows, op.y.data, {}, op.rows.size, op.x.dim[1], false, nullptr, {}});
}

KERNEL_REAL(cuda, GatherRowsBackward) {
  const cuda::RowIndices rows{op.rows.data, cuda::index_range(stream, op.kName, "rows", op.dX.dim[0])};
  cuda::add_rows<T>(stream, op.dY.data, {}, op.dX.data, rows, op.rows.size, op.dX.dim[1]);
}

}  // namespace g2rpo
