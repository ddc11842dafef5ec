// The mixture of experts that takes the place of a layer's MLP: every row goes through its most probable experts.
#pragma once
#include "../../core/arena.h"
#include "../../core/stream.h"
#include "weights.h"

namespace g2rpo::qwen3vl {

/** What a layer's experts leave for the backward. Pairs of a row and an expert are sorted by expert; P = rows · active. */
template <class T> struct MoeState {
  // results of matrix products: [n, experts], [P, 2·mlp]
  T *logits, *gate_up;
  // what follows from them: [n, active], [P, mlp]; [n, active], [P], [P], [experts + 1]
  T *weights, *activated;
  int32_t *chosen, *order, *rows, *starts;

  void take_products(const MoeConfig& m, size_t n, Scratch& scratch) {
    logits = scratch.take<T>(n * m.experts);
    gate_up = scratch.take<T>(n * m.active * 2 * m.mlp);
  }
  void take_rowwise(const MoeConfig& m, size_t n, Scratch& scratch) {
    weights = scratch.take<T>(n * m.active);
    activated = scratch.take<T>(n * m.active * m.mlp);
    for (auto* list : {&chosen, &order, &rows}) *list = scratch.take<int32_t>(n * m.active);
    starts = scratch.take<int32_t>(m.experts + 1);
  }
};

/** All but the last product. Without `products` these are there already, and only what follows from them is computed. */
template <class T>
void moe_forward(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const T* x, const MoeState<T>& s, bool products);

/** y = residual + Σ over the experts of a row of weight · expert(x); y is not the residual. */
template <class T>
void moe_output(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const MoeState<T>& s, const T* residual, T* y);

/** Adds to the parameters' gradients; dX = gradient with respect to x. */
template <class T>
void moe_backward(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const T* dY, const T* x, const MoeState<T>& s,
                  T* dX);

}  // namespace g2rpo::qwen3vl
