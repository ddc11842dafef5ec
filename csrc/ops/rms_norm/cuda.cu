#include "../../backends/cuda/rows.h"
#include "../rotary/op.h"
#include "op.h"

namespace g2rpo {

namespace {

/** Teams whose threads hold a pack each of a row: what an element is turned with is with another lane of the warp. */
template <class Rows> constexpr bool kTurns = Rows::Team == 32 && Rows::V == 1;
/** Whether the halves of a row are made of 1, 2, 4, 8 or 16 packs. */
template <class Rows> bool turns(size_t width) {
  const size_t packs = width / (2 * Rows::W);
  return kTurns<Rows> && width % (2 * Rows::W) == 0 && packs > 0 && (packs & (packs - 1)) == 0;
}

/** Turns the packs of a warp, which are a row; by the angle, or back. The same arithmetic as Rotary's. */
template <class Rows, class T> __device__ void turn_row(cuda::Pack<T, Rows::W>& own, const HeadTurn<T>& turn, size_t row, size_t width, bool back) {
  const size_t half = width / 2, i = Rows::lane() * Rows::W;
  cuda::Pack<T, Rows::W> other, cosine{}, sine{};
  for (int w = 0; w < Rows::W; w++) other.x[w] = __shfl_xor_sync(~0u, own.x[w], static_cast<int>(half / Rows::W));
  if (i < width) {
    const size_t at = row / turn.heads * half + i % half;
    cosine = cuda::load<Rows::W>(turn.cosine + at), sine = cuda::load<Rows::W>(turn.sine + at);
  }
  const bool minus = (i < half) != back;
  for (int w = 0; w < Rows::W; w++) own.x[w] = fma(own.x[w], cosine.x[w], minus ? -(other.x[w] * sine.x[w]) : other.x[w] * sine.x[w]);
}

template <class T, class Rows, class Y, bool Turned>
__global__ void __launch_bounds__(Rows::kBlock) forward(const T* x, const T* weight, T epsilon, size_t rows, size_t width, Y* y, T* rstd, HeadTurn<T> turn) {
  __shared__ T shared[2][1][32];
  const size_t row = Rows::row();
  if (row >= rows) return;
  cuda::Row<T, Rows> in(x + row * width, width);
  T squares[1] = {};
  Rows::each(width, [&](int j, size_t i) {
    const auto v = in.at(j, i);
    for (int w = 0; w < Rows::W; w++) squares[0] = fma(v.x[w], v.x[w], squares[0]);
  });
  Rows::sums(squares, shared, 0);
  const T r = 1 / sqrt(squares[0] / static_cast<T>(width) + epsilon);
  const auto normed = [&](cuda::Pack<T, Rows::W> v, size_t i) {
    const auto factor = cuda::load<Rows::W>(weight + i);
    for (int w = 0; w < Rows::W; w++) v.x[w] = factor.x[w] * (v.x[w] * r);
    return v;
  };
  if constexpr (Turned) {
    const size_t i = Rows::lane() * Rows::W;
    auto& v = in.held(0);
    if (i < width) v = normed(v, i);
    turn_row<Rows>(v, turn, row, width, false);
    if (i < width) cuda::store_as<Rows::W>(y + row * width + i, v);
  } else {
    Rows::each(width, [&](int j, size_t i) { cuda::store_as<Rows::W>(y + row * width + i, normed(in.at(j, i), i)); });
  }
  if (Rows::lane() == 0) rstd[row] = r;
}

template <class T> struct Gradients {
  const T *dY, *x, *weight, *rstd, *residual;
  size_t rows, width, together;
  T *dX, *partials;
  bf16* narrow_dX;
  HeadTurn<T> turn;
};

/** A block to `together` rows: dX, and its share of dWeight, from one look at a row. */
template <class T, class Rows, bool Turned> __global__ void __launch_bounds__(Rows::kBlock) backward(Gradients<T> a) {
  __shared__ T shared[2][1][32];
  __shared__ T stage[Rows::kRows][Rows::kRows == 1 ? 1 : 32 * Rows::Held * Rows::W];
  const cuda::Row<T, Rows> weight(a.weight, a.width);
  cuda::ColumnSums<T, Rows> sums(a.partials ? a.partials + blockIdx.x * a.width : nullptr, a.partials ? a.width : 0);
  const size_t begin = blockIdx.x * a.together, end = begin + a.together < a.rows ? begin + a.together : a.rows;
  unsigned turn = 0;
  for (size_t r = begin + Rows::of_block(); r < end; r += Rows::kRows, turn ^= 1) {
    const size_t at = r * a.width;
    cuda::Row<T, Rows> dY(a.dY + at, a.width);
    const cuda::Row<T, Rows> x(a.x + at, a.width), residual(a.residual ? a.residual + at : nullptr, a.width);
    if constexpr (Turned) turn_row<Rows>(dY.held(0), a.turn, r, a.width, true);
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

/** By the kernel of Rotary: of rows that no warp has as a pack a lane. */
template <class T> void turn_apart(Stream& stream, const HeadTurn<T>& turn, T* x, size_t rows, size_t width, bool back) {
  const size_t tokens = rows / turn.heads;
  const Rotary<T> op{{turn.cosine, tokens, width / 2}, {turn.sine, tokens, width / 2}, {x, tokens, turn.heads, width}, back};
  find_kernel(op.kName, Backend::cuda, variant_of<Rotary<T>>())->run(stream, &op);
}

}  // namespace

KERNEL_REAL(cuda, RmsNorm) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm: D must be at least 1; got 0");
  const size_t rows = op.x.size / width, heads = op.turn.heads;
  if (rows == 0) return;
  const bool wide = cuda::aligned(op.x.data, op.weight.data, op.y.data, op.narrow_y, op.turn.cosine, op.turn.sine);
  cuda::with_row_team<T>(width, wide, [&]<class Rows>(Rows) {
    const auto start = [&]<bool Turned, class Y>(std::bool_constant<Turned>, Y* y) {
      cuda::launch(stream, forward<T, Rows, Y, Turned>, cuda::blocks_for(rows, Rows::kRows), Rows::kBlock, op.x.data, op.weight.data, op.epsilon, rows, width, y, op.rstd.data, op.turn);
    };
    if constexpr (sizeof(T) == 4)
      if (op.narrow_y) return start(std::false_type{}, op.narrow_y);
    if constexpr (kTurns<Rows>)
      if (heads && turns<Rows>(width)) return start(std::true_type{}, op.y.data);
    start(std::false_type{}, op.y.data);
    if (heads) turn_apart(stream, op.turn, op.y.data, rows, width, false);
  });
}

KERNEL_REAL(cuda, RmsNormBackward) {
  const size_t width = op.weight.size;
  if (width == 0) return fail(stream, "INVALID_ARGUMENT", "rms_norm_backward: D must be at least 1; got 0");
  const size_t rows = op.x.size / width, heads = op.turn.heads;
  if (rows == 0) return;
  const bool wide = cuda::aligned(op.dY.data, op.x.data, op.weight.data, op.residual.data, op.dX.data, op.narrow_dX, op.turn.cosine, op.turn.sine);
  cuda::with_row_team<T>(width, wide, [&]<class Rows>(Rows) {
    const size_t together = cuda::rows_together(rows, Rows::kRows), blocks = (rows + together - 1) / together;
    cuda::Temporary<T> partials(stream, op.dWeight ? blocks * width : 0);
    const Gradients<T> a{op.dY.data, op.x.data, op.weight.data, op.rstd.data, op.residual.data, rows, width, together,
                         op.dX.data, op.dWeight ? partials.get() : nullptr, op.narrow_dX, op.turn};
    const auto start = [&]<bool Turned>(std::bool_constant<Turned>) { cuda::launch(stream, backward<T, Rows, Turned>, static_cast<unsigned>(blocks), Rows::kBlock, a); };
    bool turned = false;
    if constexpr (kTurns<Rows>)
      if ((turned = heads && turns<Rows>(width))) start(std::true_type{});
    if (heads && !turned) turn_apart(stream, op.turn, const_cast<T*>(op.dY.data), rows, width, true);
    if (!turned) start(std::false_type{});
    if (op.dWeight) cuda::add_partials<T>(stream, partials.get(), blocks, width, op.dWeight.data);
  });
}

}  // namespace g2rpo
