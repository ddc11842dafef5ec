// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"
#include "../../core/arena.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, LayerNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "layer_norm: D must be at least 1; got 0");
  for_blocks(stream, op.x.size / width, block_rows(width), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; r++) {
      const T* x = op.x.data + r * width;
      T* y = op.y.data + r * width;
      Vec<T> total{};
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED { total += at.load(x + i); });
      const T mean = sum<T>(total) / static_cast<T>(width);
      Vec<T> squares{};
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> d = at.load(x + i, mean) - splat(mean);
        squares = fma(d, d, squares);
      });
      const T rstd = rsqrt(sum<T>(squares) / static_cast<T>(width) + static_cast<T>(op.epsilon));
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> xhat = (at.load(x + i) - splat(mean)) * splat(rstd);
        at.store(y + i, fma(at.load(op.weight.data + i), xhat, at.load(op.bias.data + i)));
      });
      op.mean[r] = mean;
      op.rstd[r] = rstd;
    }
  });
}

KERNEL_REAL(cpu, LayerNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "layer_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width, block = block_rows(width), blocks = (rows + block - 1) / block;
  Scratch scratch;
  T* partials = scratch.take<T>(blocks * 2 * width);
  for_blocks(stream, rows, block, [&](size_t begin, size_t end) {
    T* weight_partial = partials + begin / block * 2 * width;
    T* bias_partial = weight_partial + width;
    __builtin_memset(weight_partial, 0, 2 * width * sizeof(T));
    for (size_t r = begin; r < end; r++) {
      const T* x = op.x.data + r * width;
      const T* dy = op.dY.data + r * width;
      const T* w = op.weight.data;
      const T* residual = op.residual ? op.residual.data + r * width : nullptr;
      T* dx = op.dX.data + r * width;
      const Vec<T> rstd = splat(op.rstd[r]), mean = splat(op.mean[r]);
      Vec<T> total{}, dot{};
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> g = at.load(dy + i), gw = g * at.load(w + i), xhat = (at.load(x + i) - mean) * rstd;
        total += gw;
        dot = fma(gw, xhat, dot);
        at.store(weight_partial + i, fma(g, xhat, at.load(weight_partial + i)));
        at.store(bias_partial + i, at.load(bias_partial + i) + g);
      });
      const Vec<T> mean_gw = splat(sum<T>(total) / static_cast<T>(width));
      const Vec<T> mean_dot = splat(sum<T>(dot) / static_cast<T>(width));
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> xhat = (at.load(x + i) - mean) * rstd;
        const Vec<T> d = rstd * (at.load(dy + i) * at.load(w + i) - mean_gw - xhat * mean_dot);
        at.store(dx + i, residual ? at.load(residual + i) + d : d);
      });
    }
  });
  if (op.dWeight) add_partials(partials, blocks, 2 * width, op.dWeight.data, width);
  if (op.dBias) add_partials(partials + width, blocks, 2 * width, op.dBias.data, width);
}

}  // namespace g2rpo
