#include "op.h"

#include <string>

#include "../../backends/cpu/gemm.h"

namespace g2rpo {

namespace {

/** body(e, first row, rows) for every expert that has rows, once it is sure that the groups are those of `rows` rows. */
template <class F> void for_experts(Stream& stream, const char* kernel, View<const int32_t> starts, size_t rows, F&& body) {
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[starts.size - 1]) == rows;
  for (size_t e = 0; e + 1 < starts.size; e++) rising = rising && starts[e] <= starts[e + 1];
  if (!rising)
    return fail(stream, "INVALID_ARGUMENT", (std::string(kernel) + ": starts must rise from 0 to P = " + std::to_string(rows)).c_str());
  for (size_t e = 0; e + 1 < starts.size; e++)
    if (const auto count = static_cast<size_t>(starts[e + 1] - starts[e])) body(e, static_cast<size_t>(starts[e]), count);
}

template <class T> View<T> block(View<T> of, size_t from, size_t rows, size_t columns) {
  return {of.data + from * columns, rows, columns};
}

}  // namespace

// Nothing is rounded for products: what experts make chooses those of the next layer, and gradients of routers do not bear it (docs/LOG.md).
KERNEL_WEIGHT(cpu, ExpertLinear) {
  const size_t k = op.weight.dim[1], n = op.weight.dim[2];
  for_experts(stream, op.kName, op.starts, op.x.dim[0], [&](size_t e, size_t from, size_t m) {
    run<Gemm<T, W>>(stream, {.a = block(op.x, from, m, k), .b = block(op.weight, e * k, k, n), .c = block(op.y, from, m, n), .exact = true});
  });
}

KERNEL_WEIGHT(cpu, ExpertLinearBackwardInput) {
  const size_t k = op.weight.dim[1], n = op.weight.dim[2];
  for_experts(stream, op.kName, op.starts, op.dY.dim[0], [&](size_t e, size_t from, size_t m) {
    run<Gemm<T, W>>(stream, {.a = block(op.dY, from, m, n), .b = block(op.weight, e * k, k, n), .c = block(op.dX, from, m, k),
                          .m = m, .n = k, .k = n, .a_row = n, .b_row = 1, .b_col = n, .c_row = k, .exact = true});
  });
}

KERNEL_REAL(cpu, ExpertLinearBackwardWeight) {
  const size_t k = op.dWeight.dim[1], n = op.dWeight.dim[2];
  for_experts(stream, op.kName, op.starts, op.dY.dim[0], [&](size_t e, size_t from, size_t m) {
    run<Gemm<T>>(stream, {.a = block(op.x, from, m, k), .b = block(op.dY, from, m, n), .c = block(op.dWeight, e * k, k, n),
                          .m = k, .n = n, .k = m, .a_row = 1, .a_col = k, .b_row = n, .c_row = n, .accumulate = true});
  });
}

}  // namespace g2rpo
