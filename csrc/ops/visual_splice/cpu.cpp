// hot
#include "op.h"

#include "../../backends/cpu/rows.h"
#include "../../core/arena.h"
#include "messages.h"

namespace g2rpo {

namespace {
using namespace simd;

/** Whether no row occurs twice; if one does, that is the kernel's failure. All rows are below count. */
G2_INLINE bool all_different(Stream& stream, const char* kernel, View<const int32_t> rows, size_t count) {
  Scratch scratch;
  uint8_t* seen = scratch.take<uint8_t>(count);
  __builtin_memset(seen, 0, count);
  for (size_t k = 0; k < rows.size; k++) {
    if (!seen[rows[k]]) {
      seen[rows[k]] = 1;
      continue;
    }
    fail(stream, "INVALID_ARGUMENT", TwiceMessage(kernel, rows[k], k).text);
    return false;
  }
  return true;
}

template <class Op> G2_INLINE bool pairs_are_valid(Stream& stream, const Op& op, size_t features, size_t rows) {
  return rows_in_range(stream, Op::kName, "rows", op.rows, rows) && rows_in_range(stream, Op::kName, "source", op.source, features);
}

}  // namespace

KERNEL_REAL(cpu, VisualSplice) {
  const size_t width = op.x.dim[1];
  if (!pairs_are_valid(stream, op, op.features.dim[0], op.x.dim[0])) return;
  if (!all_different(stream, "visual_splice", op.rows, op.x.dim[0]) || width == 0) return;
  for_blocks(stream, op.rows.size, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; k++)
      copy_row(op.x.data + static_cast<size_t>(op.rows[k]) * width, op.features.data + static_cast<size_t>(op.source[k]) * width, width);
  });
}

KERNEL_REAL(cpu, DeepstackAdd) {
  const size_t width = op.x.dim[1];
  if (!pairs_are_valid(stream, op, op.features.dim[0], op.x.dim[0])) return;
  if (!all_different(stream, "deepstack_add", op.rows, op.x.dim[0]) || width == 0) return;
  for_blocks(stream, op.rows.size, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; k++)
      add_row(op.x.data + static_cast<size_t>(op.rows[k]) * width, op.features.data + static_cast<size_t>(op.source[k]) * width, width);
  });
}

KERNEL_REAL(cpu, VisualGather) {
  const size_t width = op.dX.dim[1];
  if (!pairs_are_valid(stream, op, op.dFeatures.dim[0], op.dX.dim[0])) return;
  in_order_per_row(
      stream, op.rows.size, width, [&](size_t k) G2_INLINED { return op.source[k]; },
      [&](size_t k) G2_INLINED {
        add_row(op.dFeatures.data + static_cast<size_t>(op.source[k]) * width, op.dX.data + static_cast<size_t>(op.rows[k]) * width, width);
      });
}

KERNEL_REAL(cpu, GatherRows) {
  const size_t width = op.x.dim[1];
  if (!rows_in_range(stream, "gather_rows", "rows", op.rows, op.x.dim[0]) || width == 0) return;
  for_blocks(stream, op.rows.size, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; k++)
      copy_row(op.y.data + k * width, op.x.data + static_cast<size_t>(op.rows[k]) * width, width);
  });
}

KERNEL_REAL(cpu, GatherRowsBackward) {
  const size_t width = op.dX.dim[1];
  if (!rows_in_range(stream, "gather_rows_backward", "rows", op.rows, op.dX.dim[0])) return;
  in_order_per_row(
      stream, op.rows.size, width, [&](size_t k) G2_INLINED { return op.rows[k]; },
      [&](size_t k) G2_INLINED {
        add_row(op.dX.data + static_cast<size_t>(op.rows[k]) * width, op.dY.data + k * width, width);
      });
}

}  // namespace g2rpo
