#include "../../backends/cuda/rows.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T, class Rows, class Y>
__global__ void __launch_bounds__(Rows::kBlock) forward(const T* x, const T* weight, T epsilon, size_t rows, size_t width, Y* y, T* rstd) {
  __shared__ T shared[2][1][32];
  const size_t row = Rows::row();
  if (row >= rows) return;
  const cuda::Row<T, Rows> in(x + row * width, width);
  T squares[1] = {};
  Rows::each(width, [&](int j, size_t i) {
    const auto v = in.at(j, i);
    for (int w = 0; w < Rows::W; w++) squares[0] = fma(v.x[w], v.x[w], squares[0]);
  });
  Rows::sums(squares, shared, 0);
  const T r = 1 / sqrt(squares[0] / static_cast<T>(width) + epsilon);
  Rows::each(width, [&](int j, size_t i) {
    auto v = in.at(j, i);
    const auto factor = cuda::load<Rows::W>(weight + i);
    for (int w = 0; w < Rows::W; w++) v.x[w] = factor.x[w] * (v.x[w] * r);
    cuda::store_as<Rows::W>(y + row * width + i, v);
  });
  if (Rows::lane() == 0) rstd[row] = r;
}

template <class T> struct Gradients {
  const T *dY, *x, *weight, *rstd, *residual;
  size_t rows, width, together;
  T *dX, *partials;
  bf16* narrow_dX;
};

/** A block to `together` rows: dX, and its share of dWeight, from one look at a row. */
template <class T, class Rows> __global__ void __launch_bounds__(Rows::kBlock) backward(Gradients<T> a) {
  __shared__ T shared[2][1][32];
  __shared__ T stage[Rows::kRows][Rows::kRows == 1 ? 1 : 32 * Rows::Held * Rows::W];
  const cuda::Row<T, Rows> weight(a.weight, a.width);
  cuda::ColumnSums<T, Rows> sums(a.partials ? a.partials + blockIdx.x * a.width : nullptr, a.partials ? a.width : 0);
  const size_t begin = blockIdx.x * a.together, end = begin + a.together < a.rows ? begin + a.together : a.rows;
  unsigned turn = 0;
  for (size_t r = begin + Rows::of_block(); r < end; r += Rows::kRows, turn ^= 1) {
    const size_t at = r * a.width;
    const cuda::Row<T, Rows> dY(a.dY + at, a.width), x(a.x + at, a.width), residual(a.residual ? a.residual + at : nullptr, a.width);
    const T rstd = a.rstd[r];
    T dot[1] = {};
    Rows::each(a.width, [&](int j, size_t i) {
      const auto g = dY.at(j, i), v = x.at(j, i), factor = weight.at(j, i);
      for (int w = 0; w < Rows::W; w++) dot[0] = fma(g.x[w] * factor.x[w], v.x[w] * rstd, dot[0]);
    });
    Rows::sums(dot, shared, turn);
    const T mean = dot[0] / static_cast<T>(a.width);
    Rows::each(a.width, [&](int j, size_t i) {
      const auto g = dY.at(j, i), v = x.at(j, i), factor = weight.at(j, i);
      cuda::Pack<T, Rows::W> d;
      for (int w = 0; w < Rows::W; w++) d.x[w] = rstd * (g.x[w] * factor.x[w] - v.x[w] * rstd * mean);
      if (a.residual) {
        const auto added = residual.at(j, i);
        for (int w = 0; w < Rows::W; w++) d.x[w] += added.x[w];
      }
      if (a.dX) cuda::store<Rows::W>(a.dX + at + i, d);
      if constexpr (sizeof(T) == 4)
        if (a.narrow_dX) cuda::store_as<Rows::W>(a.narrow_dX + at + i, d);
      if (a.partials) sums.add(j, i, [&](int w, T sum) { return fma(g.x[w], v.x[w] * rstd, sum); });
    });
  }
  if (a.partials) sums.finish(stage);
}

}  // namespace

KERNEL_REAL(cuda, RmsNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm: D must be at least 1; got 0");
  const size_t rows = op.x.size / width;
  if (rows == 0) return;
  cuda::with_row_team<T>(width, cuda::aligned(op.x.data, op.weight.data, op.y.data, op.narrow_y), [&]<class Rows>(Rows) {
    const auto start = [&]<class Y>(Y* y) {
      cuda::launch(stream, forward<T, Rows, Y>, cuda::blocks_for(rows, Rows::kRows), Rows::kBlock, op.x.data, op.weight.data, op.epsilon, rows, width, y, op.rstd.data);
    };
    if constexpr (sizeof(T) == 4)
      if (op.narrow_y) return start(op.narrow_y);
    start(op.y.data);
  });
}

KERNEL_REAL(cuda, RmsNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width;
  if (rows == 0) return;
  const bool wide = cuda::aligned(op.dY.data, op.x.data, op.weight.data, op.residual.data, op.dX.data, op.narrow_dX);
  cuda::with_row_team<T>(width, wide, [&]<class Rows>(Rows) {
    const size_t together = cuda::rows_together(rows, Rows::kRows), blocks = (rows + together - 1) / together;
    cuda::Temporary<T> partials(stream, op.dWeight ? blocks * width : 0);
    const Gradients<T> a{op.dY.data, op.x.data, op.weight.data, op.rstd.data, op.residual.data,
                         rows, width, together, op.dX.data, op.dWeight ? partials.get() : nullptr, op.narrow_dX};
    cuda::launch(stream, backward<T, Rows>, static_cast<unsigned>(blocks), Rows::kBlock, a);
    if (op.dWeight) cuda::add_partials<T>(stream, partials.get(), blocks, width, op.dWeight.data);
  });
}

}  // namespace g2rpo
