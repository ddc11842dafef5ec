#include "../../backends/cpu/gemm.h"
#include "op.h"

namespace g2rpo {

KERNEL_WEIGHT(cpu, Linear) {
  const size_t m = op.x.dim[0], n = op.weight.dim[0], k = op.weight.dim[1];
  run<Gemm<T, W>>(stream, {.a = op.x, .b = op.weight, .c = op.y, .m = m, .n = n, .k = k, .a_row = k, .b_row = 1, .b_col = k,
                        .c_row = n, .bias = op.bias.data, .residual = op.residual.data, .packed = op.packed,
                        .pack_to = op.pack_to});
}

KERNEL_WEIGHT(cpu, LinearBackwardInput) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.weight.dim[1];
  run<Gemm<T, W>>(stream, {.a = op.dY, .b = op.weight, .c = op.dX, .m = m, .n = k, .k = n, .a_row = n, .b_row = k, .c_row = k,
                        .accumulate = op.accumulate});
}

KERNEL_REAL(cpu, LinearBackwardWeight) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.x.dim[1];
  if (op.dWeight)
    run<Gemm<T>>(stream, {.a = op.dY, .b = op.x, .c = op.dWeight, .m = n, .n = k, .k = m, .a_row = 1, .a_col = n, .b_row = k,
                          .c_row = k, .accumulate = true});
  if (!op.dBias) return;
  // sums of rows in blocks of fixed size, then of the blocks in order: the bits do not depend on the threads
  constexpr size_t kBlock = 64, kColumns = 64;
  parallel_for(stream, (n + kColumns - 1) / kColumns, [&](size_t c) {
    const size_t first = c * kColumns, count = n - first < kColumns ? n - first : kColumns;
    T total[kColumns] = {};
    for (size_t i = 0; i < m; i += kBlock) {
      T block[kColumns] = {};
      for (size_t r = i; r < m && r < i + kBlock; r++)
        for (size_t j = 0; j < count; j++) block[j] += op.dY[r * n + first + j];
      for (size_t j = 0; j < count; j++) total[j] += block[j];
    }
    for (size_t j = 0; j < count; j++) op.dBias[first + j] += total[j];
  });
}

}  // namespace g2rpo
