// hot
#include "op.h"

#include "../../backends/cpu/rows.h"
#include "turn.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, RotaryTable) {
  const size_t width = op.axis.size, rows = op.positions.dim[1];
  if (!rows_in_range(stream, "rotary_table", "axis", op.axis, op.positions.dim[0])) return;
  if (width == 0) return;
  // the libm calls below cost a hundred times an addition: smaller items than elsewhere
  for_blocks(stream, rows, kBlock / 16 / width + 1, [&](size_t begin, size_t end) {
    for (size_t s = begin; s < end; s++)
      for (size_t f = 0; f < width; f++) {
        const T angle = static_cast<T>(op.positions[static_cast<size_t>(op.axis[f]) * rows + s]) * op.inverseFrequency[f];
        if constexpr (sizeof(T) == 4) {
          op.cosine[s * width + f] = __builtin_cosf(angle);
          op.sine[s * width + f] = __builtin_sinf(angle);
        } else {
          op.cosine[s * width + f] = __builtin_cos(angle);
          op.sine[s * width + f] = __builtin_sin(angle);
        }
      }
  });
}

KERNEL_REAL(cpu, Rotary) {
  const size_t rows = op.x.dim[0], heads = op.x.dim[1], width = op.x.dim[2], half = width / 2;
  if (op.x.size == 0) return;
  const size_t stride = op.row_stride ? op.row_stride : heads * width;
  const T sign = op.inverse ? T(-1) : T(1);
  for_blocks(stream, rows, kBlock / (heads * width) + 1, [&](size_t begin, size_t end) {
    for (size_t s = begin; s < end; s++)
      for (size_t h = 0; h < heads; h++) turn_head(op.x.data + s * stride + h * width, op.cosine.data + s * half, op.sine.data + s * half, half, sign);
  });
}

}  // namespace g2rpo
