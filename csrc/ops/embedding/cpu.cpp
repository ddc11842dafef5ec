// hot
#include "op.h"

#include "../../backends/cpu/rows.h"

namespace g2rpo {

using namespace simd;

KERNEL_WEIGHT(cpu, Embedding) {
  const size_t width = op.table.dim[1];
  if (!rows_in_range(stream, "embedding", "ids", op.ids, op.table.dim[0], -1) || width == 0) return;
  for_blocks(stream, op.ids.size, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t s = begin; s < end; s++) {
      T* x = op.x.data + s * width;
      if (op.ids[s] < 0) __builtin_memset(x, 0, width * sizeof(T));
      else copy_row(x, op.table.data + static_cast<size_t>(op.ids[s]) * width, width);
    }
  });
}

KERNEL_REAL(cpu, EmbeddingBackward) {
  const size_t width = op.dTable.dim[1];
  if (!rows_in_range(stream, "embedding_backward", "ids", op.ids, op.dTable.dim[0], -1)) return;
  in_order_per_row(
      stream, op.ids.size, width, [&](size_t s) G2_INLINED { return op.ids[s]; },
      [&](size_t s) G2_INLINED {
        add_row(op.dTable.data + static_cast<size_t>(op.ids[s]) * width, op.dX.data + s * width, width);
      });
}

}  // namespace g2rpo
