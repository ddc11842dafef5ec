#include "../../backends/cuda/indices.h"
#include "op.h"

namespace g2rpo {

KERNEL_WEIGHT(cuda, Embedding) {
  const cuda::RowIndices ids{op.ids.data, cuda::index_range(stream, op.kName, "ids", op.table.dim[0], -1)};
  cuda::move_rows<T, W>(stream, {op.table.data, ids, op.x.data, {}, op.ids.size, op.table.dim[1], false, nullptr, {}});
}

KERNEL_REAL(cuda, EmbeddingBackward) {
  const cuda::RowIndices ids{op.ids.data, cuda::index_range(stream, op.kName, "ids", op.dTable.dim[0], -1)};
  cuda::add_rows<T>(stream, op.dX.data, {}, op.dTable.data, ids, op.ids.size, op.dTable.dim[1]);
}

}  // namespace g2rpo
