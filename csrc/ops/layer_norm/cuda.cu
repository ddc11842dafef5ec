#include "../../backends/cuda/rows.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T, class Y> struct Arguments {
  const T *x, *weight, *bias;
  T epsilon;
  size_t rows, width;
  Y* y;
  T *mean, *rstd;
};

template <class T, class Rows, class Y> __global__ void __launch_bounds__(Rows::kBlock) forward(Arguments<T, Y> a) {
  __shared__ T shared[2][1][32];
  const size_t row = Rows::row(), at = row * a.width;
  if (row >= a.rows) return;
  const cuda::Row<T, Rows> x(a.x + at, a.width);
  T total[1] = {}, squares[1] = {};
  Rows::each(a.width, [&](int j, size_t i) {
    const auto v = x.at(j, i);
    for (int w = 0; w < Rows::W; w++) total[0] += v.x[w];
  });
  Rows::sums(total, shared, 0);
  const T mean = total[0] / static_cast<T>(a.width);
  Rows::each(a.width, [&](int j, size_t i) {
    const auto v = x.at(j, i);
    for (int w = 0; w < Rows::W; w++) squares[0] = fma(v.x[w] - mean, v.x[w] - mean, squares[0]);
  });
  Rows::sums(squares, shared, 1);
  const T rstd = 1 / sqrt(squares[0] / static_cast<T>(a.width) + a.epsilon);
  Rows::each(a.width, [&](int j, size_t i) {
    auto v = x.at(j, i);
    const auto weight = cuda::load<Rows::W>(a.weight + i), bias = cuda::load<Rows::W>(a.bias + i);
    for (int w = 0; w < Rows::W; w++) v.x[w] = fma(weight.x[w], (v.x[w] - mean) * rstd, bias.x[w]);
    cuda::store_as<Rows::W>(a.y + at + i, v);
  });
  if (Rows::lane() == 0) a.mean[row] = mean, a.rstd[row] = rstd;
}

template <class T> struct Gradients {
  const T *dY, *x, *weight, *mean, *rstd, *residual;
  size_t rows, width, together;
  T *dX, *weight_partials, *bias_partials;  // no partials: null, both
  bf16* narrow_dX;
};

/** A block to `together` rows: dX, and its shares of dWeight and dBias, from one look at a row. */
template <class T, class Rows> __global__ void __launch_bounds__(Rows::kBlock) backward(Gradients<T> a) {
  __shared__ T shared[2][2][32];
  __shared__ T stage[Rows::kRows][Rows::kRows == 1 ? 1 : 32 * Rows::Held * Rows::W];
  const cuda::Row<T, Rows> weight(a.weight, a.width);
  const size_t partial = blockIdx.x * a.width, kept = a.weight_partials ? a.width : 0;
  cuda::ColumnSums<T, Rows> weights(a.weight_partials + partial, kept), biases(a.bias_partials + partial, kept);
  const size_t begin = blockIdx.x * a.together, end = begin + a.together < a.rows ? begin + a.together : a.rows;
  unsigned turn = 0;
  for (size_t r = begin + Rows::of_block(); r < end; r += Rows::kRows, turn ^= 1) {
    const size_t at = r * a.width;
    const cuda::Row<T, Rows> dY(a.dY + at, a.width), x(a.x + at, a.width), residual(a.residual ? a.residual + at : nullptr, a.width);
    const T mean = a.mean[r], rstd = a.rstd[r];
    T sums[2] = {};
    Rows::each(a.width, [&](int j, size_t i) {
      const auto g = dY.at(j, i), v = x.at(j, i), factor = weight.at(j, i);
      for (int w = 0; w < Rows::W; w++) {
        const T scaled = g.x[w] * factor.x[w];
        sums[0] += scaled;
        sums[1] = fma(scaled, (v.x[w] - mean) * rstd, sums[1]);
      }
    });
    Rows::sums(sums, shared, turn);
    const T mean_scaled = sums[0] / static_cast<T>(a.width), mean_dot = sums[1] / static_cast<T>(a.width);
    Rows::each(a.width, [&](int j, size_t i) {
      const auto g = dY.at(j, i), v = x.at(j, i), factor = weight.at(j, i);
      cuda::Pack<T, Rows::W> d;
      for (int w = 0; w < Rows::W; w++) d.x[w] = rstd * (g.x[w] * factor.x[w] - mean_scaled - (v.x[w] - mean) * rstd * mean_dot);
      if (a.residual) {
        const auto added = residual.at(j, i);
        for (int w = 0; w < Rows::W; w++) d.x[w] += added.x[w];
      }
      if (a.dX) cuda::store<Rows::W>(a.dX + at + i, d);
      if constexpr (sizeof(T) == 4)
        if (a.narrow_dX) cuda::store_as<Rows::W>(a.narrow_dX + at + i, d);
      if (!a.weight_partials) return;
      weights.add(j, i, [&](int w, T sum) { return fma(g.x[w], (v.x[w] - mean) * rstd, sum); });
      biases.add(j, i, [&](int w, T sum) { return sum + g.x[w]; });
    });
  }
  if (!a.weight_partials) return;
  weights.finish(stage);
  biases.finish(stage);
}

}  // namespace

KERNEL_REAL(cuda, LayerNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "layer_norm: D must be at least 1; got 0");
  const size_t rows = op.x.size / width;
  if (rows == 0) return;
  cuda::with_row_team<T>(width, cuda::aligned(op.x.data, op.weight.data, op.bias.data, op.y.data, op.narrow_y), [&]<class Rows>(Rows) {
    const auto start = [&]<class Y>(Y* y) {
      const Arguments<T, Y> a{op.x.data, op.weight.data, op.bias.data, static_cast<T>(op.epsilon), rows, width, y, op.mean.data, op.rstd.data};
      cuda::launch(stream, forward<T, Rows, Y>, cuda::blocks_for(rows, Rows::kRows), Rows::kBlock, a);
    };
    if constexpr (sizeof(T) == 4)
      if (op.narrow_y) return start(op.narrow_y);
    start(op.y.data);
  });
}

KERNEL_REAL(cuda, LayerNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "layer_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width;
  if (rows == 0) return;
  const bool wide = cuda::aligned(op.dY.data, op.x.data, op.weight.data, op.residual.data, op.dX.data, op.narrow_dX), summed = op.dWeight || op.dBias;
  cuda::with_row_team<T>(width, wide, [&]<class Rows>(Rows) {
    const size_t together = cuda::rows_together(rows, Rows::kRows), blocks = (rows + together - 1) / together;
    cuda::Temporary<T> weights(stream, summed ? blocks * width : 0), biases(stream, summed ? blocks * width : 0);
    const Gradients<T> a{op.dY.data, op.x.data, op.weight.data, op.mean.data, op.rstd.data, op.residual.data, rows, width, together,
                         op.dX.data, summed ? weights.get() : nullptr, summed ? biases.get() : nullptr, op.narrow_dX};
    cuda::launch(stream, backward<T, Rows>, static_cast<unsigned>(blocks), Rows::kBlock, a);
    if (op.dWeight) cuda::add_partials<T>(stream, weights.get(), blocks, width, op.dWeight.data);
    if (op.dBias) cuda::add_partials<T>(stream, biases.get(), blocks, width, op.dBias.data);
  });
}

}  // namespace g2rpo
