// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"
#include "../../core/arena.h"
#include "../rotary/turn.h"

namespace g2rpo {

namespace {
using namespace simd;

template <class T> G2_INLINE T squares(const T* x, size_t n) {
  Vec<T> a{}, b{};
  size_t i = 0;
  for (; i + 2 * lanes<T> <= n; i += 2 * lanes<T>) {
    const Vec<T> u = load(x + i), v = load(x + i + lanes<T>);
    a = fma(u, u, a);
    b = fma(v, v, b);
  }
  for_lanes<T>(i, n, [&](size_t j, auto at) G2_INLINED {
    const Vec<T> u = at.load(x + j);
    a = fma(u, u, a);
  });
  return sum<T>(a + b);
}

/** Row r is a head of the token r / heads. */
template <class T> G2_INLINE void turn_row(T* row, const HeadTurn<T>& turn, size_t r, size_t width, T sign) {
  const size_t half = width / 2, at = r / turn.heads * half;
  turn_head(row, turn.cosine + at, turn.sine + at, half, sign);
}

}  // namespace

KERNEL_REAL(cpu, RmsNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm: D must be at least 1; got 0");
  for_blocks(stream, op.x.size / width, block_rows(width), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; r++) {
      const T* x = op.x.data + r * width;
      T* y = op.y.data + r * width;
      const T rstd = rsqrt(squares(x, width) / static_cast<T>(width) + static_cast<T>(op.epsilon));
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        at.store(y + i, at.load(op.weight.data + i) * (at.load(x + i) * splat(rstd)));
      });
      if (op.turn.heads) turn_row(y, op.turn, r, width, T(1));
      op.rstd[r] = rstd;
    }
  });
}

KERNEL_REAL(cpu, RmsNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width, block = block_rows(width), blocks = (rows + block - 1) / block;
  Scratch scratch;
  T* partials = scratch.take<T>(blocks * width);
  for_blocks(stream, rows, block, [&](size_t begin, size_t end) {
    T* partial = partials + begin / block * width;
    __builtin_memset(partial, 0, width * sizeof(T));
    for (size_t r = begin; r < end; r++) {
      const T* x = op.x.data + r * width;
      const T* dy = op.dY.data + r * width;
      if (op.turn.heads) turn_row(const_cast<T*>(dy), op.turn, r, width, T(-1));
      const T* w = op.weight.data;
      const T* residual = op.residual ? op.residual.data + r * width : nullptr;
      T* dx = op.dX.data + r * width;
      const Vec<T> rstd = splat(op.rstd[r]);
      Vec<T> dot{};
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> g = at.load(dy + i), xhat = at.load(x + i) * rstd;
        dot = fma(g * at.load(w + i), xhat, dot);
        at.store(partial + i, fma(g, xhat, at.load(partial + i)));
      });
      const Vec<T> mean = splat(sum<T>(dot) / static_cast<T>(width));
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> xhat = at.load(x + i) * rstd;
        const Vec<T> d = rstd * (at.load(dy + i) * at.load(w + i) - xhat * mean);
        at.store(dx + i, residual ? at.load(residual + i) + d : d);
      });
    }
  });
  if (op.dWeight) add_partials(partials, blocks, width, op.dWeight.data, width);
}

}  // namespace g2rpo
