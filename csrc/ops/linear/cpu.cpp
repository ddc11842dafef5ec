#include "../../backends/cpu/gemm.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> auto* mark_of(const View<T>& packed) { return packed.data + packed.size - 1; }

/** What somebody gave was made by PackWeight of a weight of this type; calls from C++ give no size, and know. */
template <class T, class W> bool is_packed(const View<const T>& packed) {
  return packed.size == 0 || __builtin_memcmp(mark_of(packed), &kPackedMark<T, W>, sizeof kPackedMark<T, W>) == 0;
}

}  // namespace

bool packs_bf16() { return rounding_pays(); }

KERNEL_WEIGHT(cpu, PackWeight) {
  const size_t n = op.weight.dim[0], k = op.weight.dim[1];
  // how much is written depends on the instruction set: what may be left over is zeros
  const size_t least = n * packed_depth(k, __is_same(W, bf16));
  if (op.packed.size > least) __builtin_memset(op.packed.data + least, 0, (op.packed.size - least) * sizeof(T));
  if (op.packed.size > 0) __builtin_memcpy(mark_of(op.packed), &kPackedMark<T, W>, sizeof kPackedMark<T, W>);
  run<Gemm<T, W>>(stream, {.b = op.weight, .m = 0, .n = n, .k = k, .b_row = 1, .b_col = k, .pack_to = op.packed.data});
}

KERNEL_WEIGHT(cpu, Linear) {
  if (!is_packed<T, W>(op.packed))
    return fail(stream, "INVALID_ARGUMENT", __is_same(W, bf16) ? "linear: packed must be what pack_weight has made of a weight in bf16; got something else"
                                                               : "linear: packed must be what pack_weight has made of a weight of the same type; got something else");
  const size_t m = op.x.dim[0], n = op.weight.dim[0], k = op.weight.dim[1];
  run<Gemm<T, W>>(stream, {.a = op.x, .b = op.weight, .c = op.y, .m = m, .n = n, .k = k, .a_row = k, .b_row = 1, .b_col = k,
                        .c_row = n, .bias = op.bias.data, .residual = op.residual.data, .packed = op.packed.data});
}

KERNEL_WEIGHT(cpu, LinearBackwardInput) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.weight.dim[1];
  run<Gemm<T, W>>(stream, {.a = op.dY, .b = op.weight, .c = op.dX, .m = m, .n = k, .k = n, .a_row = n, .b_row = k, .c_row = k,
                        .accumulate = op.accumulate});
}

KERNEL_REAL(cpu, LinearBackwardWeight) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.dWeight ? op.x.dim[1] : 0;
  const Gemm<T> product{.a = op.dY, .b = op.x, .c = op.dWeight, .m = n, .n = k, .k = m, .a_row = 1, .a_col = n, .b_row = k,
                        .c_row = k, .accumulate = !op.overwrite, .sums = op.dBias.data};
  if constexpr (__is_same(T, float))
    if (op.in_bf16 && rounding_pays()) return run(stream, RoundedGemm<>{product});
  run(stream, product);
}

}  // namespace g2rpo
