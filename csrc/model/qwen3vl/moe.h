// The mixture of experts that takes the place of a layer's MLP: every row goes through its most probable experts.
#pragma once
#include "../../core/arena.h"
#include "../../core/stream.h"
#include "weights.h"

namespace g2rpo::qwen3vl {

/** What a layer's experts leave for the backward. Pairs of a row and an expert are sorted by expert; P = rows · active. */
template <class T> struct MoeState {
  T *logits, *weights, *gate_up, *activated;  // [n, experts], [n, active], [P, 2·mlp], [P, mlp]
  int32_t *chosen, *order, *rows, *starts;    // [n, active], [P], [P], [experts + 1]
};

/** y = residual + Σ over the experts of a row of weight · expert(x); y is not the residual. */
template <class T>
MoeState<T> moe_forward(Stream& stream, const Config& config, const MoeLayer<T>& w, size_t n, const T* x, const T* residual, T* y,
                        Scratch& scratch);

/** Adds to the parameters' gradients; dX = gradient with respect to x. */
template <class T>
void moe_backward(Stream& stream, const Config& config, const MoeLayer<T>& w, size_t n, const T* dY, const T* x,
                  const MoeState<T>& s, T* dX);

}  // namespace g2rpo::qwen3vl
