// hot
#include "op.h"

#include "../../backends/cpu/lists.h"

namespace g2rpo {

namespace {
using namespace simd;

/** As many elements as there are lanes of f64, as f64. */
G2_INLINE Vec<double> widen(const double* p) { return load(p); }
G2_INLINE Vec<double> widen(const float* p) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const half*>(p), Vec<double>);
}

G2_INLINE Vec<double> widen(const bf16* p) {
  float wide[lanes<double>];
  for (int i = 0; i < lanes<double>; i++) wide[i] = g2rpo::widen(p[i]);
  return widen(wide);
}

/** Four sums side by side, so that an addition need not wait for the last one. */
template <class T> G2_INLINE double squares(const T* x, size_t n) {
  constexpr size_t step = static_cast<size_t>(lanes<double>);
  Vec<double> total[4] = {};
  size_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step)
    for (size_t k = 0; k < 4; k++) {
      const Vec<double> v = widen(x + i + k * step);
      total[k] = fma(v, v, total[k]);
    }
  double rest = 0;
  for (; i < n; i++) {
    const double each = g2rpo::widen(x[i]);
    rest += each * each;
  }
  return sum<double>((total[0] + total[1]) + (total[2] + total[3])) + rest;
}

}  // namespace

KERNEL_WEIGHT(cpu, SquaredNorm) {
  Scratch scratch;
  const ListBlocks blocks(op.x.items, op.x.size, 4 * kBlock, scratch);
  double* partials = scratch.take<double>(blocks.total());
  blocks.each(stream, [&](size_t k, size_t begin, size_t end, size_t b) { partials[b] = squares(op.x[k].data + begin, end - begin); });
  double total = 0;
  for (size_t k = 0; k < op.x.size; k++) {
    double of_tensor = 0;
    for (size_t b = blocks.first[k]; b < blocks.first[k + 1]; b++) of_tensor += partials[b];
    total += of_tensor;
  }
  op.sum[0] = total;
}

}  // namespace g2rpo
