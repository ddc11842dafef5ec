#include <cstring>

#include "../../backends/cpu/gemm.h"
#include "../../core/arena.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> void multiply(T* x, size_t n, double by) {
  for (size_t i = 0; i < n; i++) x[i] *= static_cast<T>(by);
}

}  // namespace

KERNEL_WEIGHT(cpu, LoraMerge) {
  const size_t n = op.base.dim[0], k = op.base.dim[1], r = op.a.dim[0];
  Scratch scratch;
  T* scaled = scratch.take<T>(n * r);
  if (n * r > 0) std::memcpy(scaled, op.b.data, n * r * sizeof(T));
  multiply(scaled, n * r, op.scale);
  const T* base = op.merged.data;  // widened, if it has to be
  if constexpr (__is_same(T, W)) base = op.base.data;
  else parallel_for(stream, n, [&](size_t i) { for (size_t j = i * k; j < (i + 1) * k; j++) op.merged[j] = widen(op.base[j]); });
  run<Gemm<T>>(stream, {.a = View<const T>(scaled, n, r), .b = op.a, .c = op.merged, .m = n, .n = k, .k = r, .a_row = r, .b_row = k,
                        .c_row = k, .residual = base});
}

KERNEL_REAL(cpu, LoraBackward) {
  const size_t m = op.dY.dim[0], n = op.dY.dim[1], k = op.x.dim[1], r = op.a.dim[0];
  Scratch scratch;
  T* narrow = scratch.take<T>(m * r);
  const View<T> rows(narrow, m, r);
  // x·aᵀ, for dB
  run<Gemm<T>>(stream, {.a = op.x, .b = op.a, .c = rows, .m = m, .n = r, .k = k, .a_row = k, .b_row = 1, .b_col = k, .c_row = r});
  multiply(narrow, m * r, op.scale);
  run<Gemm<T>>(stream, {.a = op.dY, .b = rows, .c = op.dB, .m = n, .n = r, .k = m, .a_row = 1, .a_col = n, .b_row = r, .c_row = r,
                        .accumulate = true});
  // dY·b, for dA
  run<Gemm<T>>(stream, {.a = op.dY, .b = op.b, .c = rows, .m = m, .n = r, .k = n, .a_row = n, .b_row = r, .c_row = r});
  multiply(narrow, m * r, op.scale);
  run<Gemm<T>>(stream, {.a = rows, .b = op.x, .c = op.dA, .m = r, .n = k, .k = m, .a_row = 1, .a_col = r, .b_row = k, .c_row = k,
                        .accumulate = true});
}

}  // namespace g2rpo
