#include "moe.h"

#include "../../ops/expert_linear/op.h"
#include "../../ops/expert_swiglu/op.h"
#include "../../ops/router/op.h"
#include "../../ops/visual_splice/op.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

/** y[pairs, out] = x[pairs, in] times the matrix of each row's expert. */
template <class T>
void expert_linear(Stream& stream, const T* x, const MoeState<T>& s, const Parameter<T>& weight, size_t experts, size_t pairs, size_t in,
                   size_t out, T* y) {
  with_values(weight, [&]<class W>(const W* values) {
    run(stream, ExpertLinear<T, W>{matrix(x, pairs, in), vector<const int32_t>(s.starts, experts + 1), cube(values, experts, in, out),
                                   matrix(y, pairs, out)});
  });
}

/** dX[pairs, in] from dY[pairs, out]. */
template <class T>
void expert_backward_input(Stream& stream, const T* dY, const MoeState<T>& s, const Parameter<T>& weight, size_t experts, size_t pairs,
                           size_t in, size_t out, T* dX) {
  with_values(weight, [&]<class W>(const W* values) {
    run(stream, ExpertLinearBackwardInput<T, W>{matrix(dY, pairs, out), vector<const int32_t>(s.starts, experts + 1),
                                                cube(values, experts, in, out), matrix(dX, pairs, in)});
  });
}

}  // namespace

template <class T>
void moe_forward(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const T* x, const MoeState<T>& s, bool products) {
  const auto& m = t.moe;
  const size_t h = t.hidden, pairs = n * m.active, wide = 2 * m.mlp;
  if (products) linear(stream, n, h, m.experts, x, w.router, s.logits);
  run(stream, Router<T>{matrix<const T>(s.logits, n, m.experts), matrix(s.chosen, n, m.active), m.normalise,
                        matrix(s.weights, n, m.active)});
  run(stream, ExpertGroups{matrix<const int32_t>(s.chosen, n, m.active), vector(s.starts, m.experts + 1),
                           matrix(s.order, n, m.active), matrix(s.rows, n, m.active)});
  if (products) {
    Scratch scratch(stream);
    T* of_pairs = scratch.take<T>(pairs * h);
    run(stream, GatherRows<T>{matrix(x, n, h), vector<const int32_t>(s.rows, pairs), matrix(of_pairs, pairs, h)});
    expert_linear<T>(stream, of_pairs, s, w.gate_up, m.experts, pairs, h, wide, s.gate_up);
  }
  run(stream, ExpertSwiGlu<T>{matrix<const T>(s.gate_up, pairs, wide), vector<const T>(s.weights, pairs),
                              vector<const int32_t>(s.order, pairs), matrix(s.activated, pairs, m.mlp)});
}

template <class T>
void moe_output(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const MoeState<T>& s, const T* residual, T* y) {
  const auto& m = t.moe;
  const size_t h = t.hidden, pairs = n * m.active;
  Scratch scratch(stream);
  T* of_pairs = scratch.take<T>(pairs * h);
  expert_linear<T>(stream, s.activated, s, w.down, m.experts, pairs, m.mlp, h, of_pairs);
  copy(stream, y, residual, n * h);
  run(stream, GatherRowsBackward<T>{matrix<const T>(of_pairs, pairs, h), vector<const int32_t>(s.rows, pairs), matrix(y, n, h)});
}

template <class T>
void moe_backward(Stream& stream, const TextConfig& t, const MoeLayer<T>& w, size_t n, const T* dY, const T* x, const MoeState<T>& s,
                  T* dX) {
  const auto& m = t.moe;
  const size_t h = t.hidden, pairs = n * m.active, wide = 2 * m.mlp;
  const auto starts = vector<const int32_t>(s.starts, m.experts + 1);
  const auto rows = vector<const int32_t>(s.rows, pairs);
  Scratch scratch(stream);
  T* of_pairs = scratch.take<T>(pairs * h);
  T* d_activated = scratch.take<T>(pairs * m.mlp);
  T* d_gate_up = scratch.take<T>(pairs * wide);
  T* d_weights = scratch.take<T>(pairs);
  T* d_logits = scratch.take<T>(n * m.experts);

  run(stream, GatherRows<T>{matrix(dY, n, h), rows, matrix(of_pairs, pairs, h)});
  if (w.down.gradient)
    run(stream, ExpertLinearBackwardWeight<T>{matrix<const T>(of_pairs, pairs, h), matrix<const T>(s.activated, pairs, m.mlp), starts,
                                              cube(added_to(stream, w.down), m.experts, m.mlp, h)});
  expert_backward_input<T>(stream, of_pairs, s, w.down, m.experts, pairs, m.mlp, h, d_activated);
  run(stream, ExpertSwiGluBackward<T>{matrix<const T>(d_activated, pairs, m.mlp), matrix<const T>(s.gate_up, pairs, wide),
                                      vector<const T>(s.weights, pairs), vector<const int32_t>(s.order, pairs),
                                      matrix(d_gate_up, pairs, wide), vector(d_weights, pairs)});
  if (w.gate_up.gradient) {
    run(stream, GatherRows<T>{matrix(x, n, h), rows, matrix(of_pairs, pairs, h)});
    run(stream, ExpertLinearBackwardWeight<T>{matrix<const T>(d_gate_up, pairs, wide), matrix<const T>(of_pairs, pairs, h), starts,
                                              cube(added_to(stream, w.gate_up), m.experts, h, wide)});
  }
  expert_backward_input<T>(stream, d_gate_up, s, w.gate_up, m.experts, pairs, h, wide, of_pairs);
  clear(stream, dX, n * h);
  run(stream, GatherRowsBackward<T>{matrix<const T>(of_pairs, pairs, h), rows, matrix(dX, n, h)});
  run(stream, RouterBackward<T>{matrix<const T>(d_weights, n, m.active), matrix<const T>(s.logits, n, m.experts),
                                matrix<const int32_t>(s.chosen, n, m.active), matrix<const T>(s.weights, n, m.active), m.normalise,
                                matrix(d_logits, n, m.experts)});
  linear_backward<T>(stream, n, h, m.experts, d_logits, x, w.router, nullptr, dX, true);
}

#define G2_INSTANTIATE(T)                                                                                                  \
  template void moe_forward(Stream&, const TextConfig&, const MoeLayer<T>&, size_t, const T*, const MoeState<T>&, bool);      \
  template void moe_output(Stream&, const TextConfig&, const MoeLayer<T>&, size_t, const MoeState<T>&, const T*, T*);        \
  template void moe_backward(Stream&, const TextConfig&, const MoeLayer<T>&, size_t, const T*, const T*, const MoeState<T>&, T*);
G2_INSTANTIATE(float)
G2_INSTANTIATE(double)
#undef G2_INSTANTIATE

}  // namespace g2rpo::qwen3vl
