// The few ways in which the model calls its ops, so that forward and backward read as the specification does.
#pragma once
#include <algorithm>
#include <utility>

#include "../../core/accelerator.h"
#include "../../core/arena.h"
#include "../../ops/embedding/op.h"
#include "../../ops/layer_norm/op.h"
#include "../../ops/linear/op.h"
#include "../../ops/lora/op.h"
#include "../../ops/rms_norm/op.h"
#include "../../ops/round_bf16/op.h"
#include "gradients.h"
#include "rows.h"

namespace g2rpo::qwen3vl {

template <class T> View<T> matrix(T* data, size_t rows, size_t columns) { return {data, rows, columns}; }
template <class T> View<T> cube(T* data, size_t a, size_t b, size_t c) { return {data, a, b, c}; }
template <class T> View<T> vector(T* data, size_t size) { return {data, size}; }

/** The host's values where the stream's kernels find them: in scratch, or as they are on the CPU, which must keep them as long. */
template <class T> const T* on_device(Stream& stream, const T* values, size_t n, Scratch& scratch) {
  if (!stream.accelerator || n == 0) return values;
  T* to = scratch.take<T>(n);
  stream.accelerator->upload(to, values, n * sizeof(T));
  return to;
}
template <class T> View<const T> on_device(Stream& stream, const std::vector<T>& values, Scratch& scratch) {
  return {on_device(stream, values.data(), values.size(), scratch), values.size()};
}
/** The values of the stream's device on the host, once they are there. */
template <class T> std::vector<T> on_host(Stream& stream, const T* values, size_t n) {
  std::vector<T> to(n);
  download(stream, to.data(), values, n);
  return to;
}

/** f(values) with the values of a weight as they are kept: `const T*`, or of a policy in f32 also `const bf16*`. */
template <class T, class F> void with_values(const Parameter<T>& weight, F&& f) {
  if constexpr (__is_same(T, float))
    if (weight.narrow) return f(static_cast<const bf16*>(weight.narrow));
  f(static_cast<const T*>(weight.weight));
}

/** x[rows, size] = rows of the table [count, size]. */
template <class T>
void embed(Stream& stream, View<const int32_t> ids, const Parameter<T>& table, size_t count, size_t size, T* x) {
  with_values(table, [&]<class W>(const W* values) {
    run(stream, Embedding<T, W>{ids, matrix(values, count, size), matrix(x, ids.size, size)});
  });
}

/** Bytes of weights that a core finds in its cache when they are read again soon. */
constexpr size_t kWeightsInCache = size_t{4} << 20;

/**
 * How many rows go through a few ops together, so that a core finds in its cache what the op before has left there: all of them where
 * the `weights` (elements) that every block reads again are more than a cache holds, and on an accelerator.
 */
template <class T> size_t block_of_rows(const Stream& stream, size_t rows, size_t weights) {
  constexpr size_t kRows = 252;
  return !stream.accelerator && rows > kRows && weights * sizeof(T) <= kWeightsInCache ? kRows : rows;
}

/** f(first, count) for blocks of rows, on all threads; a single one without leaving this one. */
template <class F> void in_row_blocks(Stream& stream, size_t rows, size_t block, F&& f) {
  if (rows > 0 && block == rows) f(0, rows);
  else if (rows > 0) parallel_for(stream, (rows + block - 1) / block, [&](size_t b) { f(b * block, std::min(block, rows - b * block)); });
}

/** Rounds what others read as it is for products, where rows are there both ways. */
template <class T> void round_rows(Stream& stream, const Rows<T>& rows, size_t count) {
  if (!rows.narrow) return;
  const RawView from{rows.wide, count}, to{rows.narrow, count};
  run(stream, RoundBf16{{&from, 1}, {&to, 1}});
}
template <class T> Rows<T> both_ways(Stream& stream, T* x, size_t count, bool narrow, Scratch& scratch) {
  const auto rows = Rows<T>::both(x, count, narrow, scratch);
  round_rows(stream, rows, count);
  return rows;
}

/** y[rows, out] = x[rows, in]·Wᵀ (+ bias) (+ residual). */
template <class T>
void linear(Stream& stream, size_t rows, size_t in, size_t out, std::type_identity_t<Rows<const T>> x, const Parameter<T>& weight,
            std::type_identity_t<Rows<T>> y, const Parameter<T>* bias = nullptr, const T* residual = nullptr) {
  with_values(weight, [&]<class W>(const W* values) {
    Linear<T, W> op{matrix(x.wide, rows, in), matrix(values, out, in), {}, {}, {}, matrix(y.wide, rows, out)};
    op.narrow_x = x.narrow, op.narrow_y = y.narrow;
    if (bias) op.bias = vector<const T>(bias->weight, out);
    if (residual) op.residual = matrix(residual, rows, out);
    op.packed.data = weight.packed;
    run(stream, op);
  });
}

/** Elements that a weight takes once it is packed; 0 where it is read as it is. */
template <class T> size_t packed_size(size_t in, size_t out, const Parameter<T>& weight) {
  if (weight.narrow && !packs_bf16()) return 0;
  return packed_weight_size(out, packed_depth(in, weight.narrow != nullptr));
}

/** Lays a weight out for the products of many steps, which use it from now on; valid as long as the weight stays what it is. */
template <class T> void pack(Stream& stream, size_t in, size_t out, Parameter<T>& weight, T* packed) {
  with_values(weight, [&]<class W>(const W* values) {
    run(stream, PackWeight<T, W>{matrix(values, out, in), {packed, packed_size(in, out, weight)}});
  });
  weight.packed = packed;
}
template <class T> void pack(Stream& stream, size_t in, size_t out, Parameter<T>& weight, Scratch& scratch) {
  if (const size_t size = packed_size(in, out, weight)) pack(stream, in, out, weight, scratch.take<T>(size));
}

/** Gradients of weight and bias where they are trained; dX (+)= dY·W if it is wanted. Of dY and x both are narrow or neither; dY may be there both ways. */
template <class T>
void linear_backward(Stream& stream, size_t rows, size_t in, size_t out, std::type_identity_t<Rows<const T>> dY, std::type_identity_t<Rows<const T>> x,
                     const Parameter<T>& weight, const Parameter<T>* bias, std::type_identity_t<Rows<T>> dX, bool accumulate = false) {
  if (weight.gradient || (bias && bias->gradient)) {
    const bool first = rows > 0 && std::exchange(weight.fresh, false);
    LinearBackwardWeight<T> op{matrix(dY.wide, rows, out), matrix(x.wide, rows, in), matrix(added_to(stream, weight), out, in), {}};
    op.overwrite = first, op.narrow_dY = dY.narrow, op.narrow_x = x.narrow;
    if (bias) op.dBias = vector(added_to(stream, *bias), out);
    op.in_bf16 = weight.narrow != nullptr;
    run(stream, op);
  }
  if (const auto& lora = weight.adapter; lora.rank)
    run(stream, LoraBackward<T>{matrix(dY.wide, rows, out), matrix(x.wide, rows, in), matrix<const T>(lora.a, lora.rank, in),
                                matrix<const T>(lora.b, out, lora.rank), matrix(lora.dA, lora.rank, in),
                                matrix(lora.dB, out, lora.rank), lora.scale});
  if (!dX.wide && !dX.narrow) return;
  with_values(weight, [&]<class W>(const W* values) {
    LinearBackwardInput<T, W> op{matrix(dY.wide, rows, out), matrix(values, out, in), matrix(dX.wide, rows, in)};
    op.narrow_dY = dY.narrow, op.narrow_dX = dX.narrow;
    op.accumulate = accumulate;
    run(stream, op);
  });
}

template <class T>
void rms_norm(Stream& stream, size_t rows, size_t size, const T* x, const Parameter<T>& weight, double epsilon, std::type_identity_t<Rows<T>> y, T* rstd) {
  run(stream, RmsNorm<T>{matrix(x, rows, size), vector<const T>(weight.weight, size), epsilon, matrix(y.wide, rows, size),
                         vector(rstd, rows), y.narrow});
}

/** dX = residual + gradient; dX may be the residual or dY, and may be wanted both ways. */
template <class T>
void rms_norm_backward(Stream& stream, size_t rows, size_t size, const T* dY, const T* x, const Parameter<T>& weight,
                       const T* rstd, const T* residual, std::type_identity_t<Rows<T>> dX) {
  RmsNormBackward<T> op{matrix(dY, rows, size), matrix(x, rows, size), vector<const T>(weight.weight, size),
                        vector(rstd, rows), {}, vector(added_to(stream, weight), size), matrix(dX.wide, rows, size), dX.narrow};
  if (residual) op.residual = matrix(residual, rows, size);
  run(stream, op);
}

template <class T>
void layer_norm(Stream& stream, size_t rows, size_t size, const T* x, const Affine<T>& norm, double epsilon, std::type_identity_t<Rows<T>> y, T* mean,
                T* rstd) {
  run(stream, LayerNorm<T>{matrix(x, rows, size), vector<const T>(norm.weight.weight, size),
                           vector<const T>(norm.bias.weight, size), epsilon, matrix(y.wide, rows, size), vector(mean, rows),
                           vector(rstd, rows), y.narrow});
}

template <class T>
void layer_norm_backward(Stream& stream, size_t rows, size_t size, const T* dY, const T* x, const Affine<T>& norm,
                         const T* mean, const T* rstd, const T* residual, std::type_identity_t<Rows<T>> dX) {
  LayerNormBackward<T> op{matrix(dY, rows, size), matrix(x, rows, size), vector<const T>(norm.weight.weight, size),
                          vector(mean, rows), vector(rstd, rows), {}, vector(added_to(stream, norm.weight), size),
                          vector(added_to(stream, norm.bias), size), matrix(dX.wide, rows, size), dX.narrow};
  if (residual) op.residual = matrix(residual, rows, size);
  run(stream, op);
}

}  // namespace g2rpo::qwen3vl
