#include "text.h"

#include <cmath>
#include <utility>

#include "../../ops/attention/op.h"
#include "../../ops/embedding/op.h"
#include "../../ops/rotary/op.h"
#include "../../ops/swiglu/op.h"
#include "../../ops/visual_splice/op.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

template <class T>
void TextModel<T>::rope_table(Stream& stream, const std::vector<int32_t>& positions, T* cosine, T* sine) const {
  const size_t half = c_.text.head_dim / 2, rows = positions.size() / 3;
  std::vector<T> frequency(half);
  std::vector<int32_t> axis(half);
  for (size_t i = 0; i < half; i++) {
    frequency[i] = static_cast<T>(std::pow(c_.text.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(2 * half)));
    const auto at = static_cast<int32_t>(i);  // T, H, W in turn; what the sections leave over is T
    axis[i] = at % 3 == 1 && at < 3 * c_.text.section[1] ? 1 : at % 3 == 2 && at < 3 * c_.text.section[2] ? 2 : 0;
  }
  Scratch scratch(stream);
  run(stream, RotaryTable<T>{matrix(on_device(stream, positions, scratch).data, 3, rows), on_device(stream, axis, scratch),
                             on_device(stream, frequency, scratch), matrix(cosine, rows, half), matrix(sine, rows, half)});
}

template <class T>
void TextModel<T>::norm_heads(Stream& stream, size_t rows, size_t heads, const T* cosine, const T* sine, const T* x, const Parameter<T>& norm, T* y, T* rstd) const {
  const size_t d = c_.text.head_dim, n = rows * heads;
  RmsNorm<T> op{matrix(x, n, d), vector<const T>(norm.weight, d), c_.text.epsilon, matrix(y, n, d), vector(rstd, n)};
  op.turn = {cosine, sine, heads};
  run(stream, op);
}

template <class T>
void TextModel<T>::norm_heads_backward(Stream& stream, size_t rows, size_t heads, T* dY, const T* x, const Parameter<T>& norm, const T* rstd, Rows<T> dX) const {
  const size_t d = c_.text.head_dim, n = rows * heads;
  RmsNormBackward<T> op{matrix<const T>(dY, n, d), matrix(x, n, d), vector<const T>(norm.weight, d), vector(rstd, n), {}, vector(added_to(stream, norm), d), matrix(dX.wide, n, d), dX.narrow};
  op.turn = {cosine_, sine_, heads};
  run(stream, op);
}

template <class T> void TextModel<T>::take_products(size_t n, State& s, Scratch& scratch, size_t past, bool narrow) const {
  const auto& t = c_.text;
  const size_t ks = t.key_size();
  s.q = scratch.take<T>(n * t.query_size());
  s.k = scratch.take<T>(n * ks);
  s.v = scratch.take<T>((past + n) * ks) + past * ks;
  s.attended = Rows<T>::take(n * t.query_size(), narrow, scratch);
  s.log_sum_exp = scratch.take<T>(n * t.heads);
  s.middle = scratch.take<T>(n * t.hidden);
  if (t.moe.experts) return s.moe.take_products(t.moe, n, scratch);
  for (auto* wide : {&s.gate, &s.up}) *wide = Rows<T>::take(n * t.mlp, narrow, scratch);
}

template <class T> void TextModel<T>::take_rowwise(size_t n, State& s, Scratch& scratch, size_t past) const {
  const auto& t = c_.text;
  const size_t ks = t.key_size();
  s.normed1 = Rows<T>::take(n * t.hidden, narrow_, scratch);
  s.rstd1 = scratch.take<T>(n);
  s.q_rstd = scratch.take<T>(n * t.heads);
  s.k_rstd = scratch.take<T>(n * t.kv_heads);
  s.q_roped = scratch.take<T>(n * t.query_size());
  s.k_roped = scratch.take<T>((past + n) * ks) + past * ks;
  s.normed2 = Rows<T>::take(n * t.hidden, narrow_ && !t.moe.experts, scratch);
  s.rstd2 = scratch.take<T>(n);
  if (t.moe.experts) return s.moe.take_rowwise(t.moe, n, scratch);
  s.activated = Rows<T>::take(n * t.mlp, narrow_, scratch);
}

template <class T>
void TextModel<T>::layer_forward(Stream& stream, size_t n, const TextLayer<T>& weights, const State& s, bool products, T* out, size_t past) {
  const auto& t = c_.text;
  const size_t h = t.hidden, qs = t.query_size(), ks = t.key_size(), d = t.head_dim;
  const size_t mlp = t.moe.experts ? 0 : t.mlp;
  Scratch scratch(stream);
  TextLayer<T> w = weights;
  const size_t before = block_of_rows<T>(stream, n, h * (qs + 2 * ks)), after = block_of_rows<T>(stream, n, h * (qs + 3 * mlp));
  if (products && before < n) {
    pack(stream, h, qs, w.q, scratch);
    for (auto* kv : {&w.k, &w.v}) pack(stream, h, ks, *kv, scratch);
  }
  if (products && after < n) {
    pack(stream, qs, h, w.o, scratch);
    if (mlp)
      for (auto* wide : {&w.gate, &w.up}) pack(stream, h, mlp, *wide, scratch);
  }
  if (out && mlp && after < n) pack(stream, mlp, h, w.down, scratch);
  in_row_blocks(stream, n, before, [&](size_t r, size_t m) {
    const auto normed = s.normed1 + r * h;
    T *q = s.q + r * qs, *k = s.k + r * ks, *q_roped = s.q_roped + r * qs, *k_roped = s.k_roped + r * ks;
    rms_norm(stream, m, h, s.x + r * h, w.input_norm, t.epsilon, normed, s.rstd1 + r);
    if (products) {
      linear(stream, m, h, qs, normed, w.q, q);
      linear(stream, m, h, ks, normed, w.k, k);
      linear(stream, m, h, ks, normed, w.v, s.v + r * ks);
    }
    const T *cosine = cosine_ + r * d / 2, *sine = sine_ + r * d / 2;
    norm_heads(stream, m, t.heads, cosine, sine, q, w.q_norm, q_roped, s.q_rstd + r * t.heads);
    norm_heads(stream, m, t.kv_heads, cosine, sine, k, w.k_norm, k_roped, s.k_rstd + r * t.kv_heads);
  });
  if (products) {
    Attention<T> attention{cube<const T>(s.q_roped, n, t.heads, d), cube<const T>(s.k_roped - past * ks, past + n, t.kv_heads, d),
                           cube<const T>(s.v - past * ks, past + n, t.kv_heads, d), in_.segment_starts, in_.segment_prefix,
                           true, 1 / std::sqrt(static_cast<double>(d)), cube(s.attended.wide, n, t.heads, d),
                           matrix(s.log_sum_exp, n, t.heads)};
    attention.keys_before = past, attention.narrow_output = s.attended.narrow;
    attention.in_bf16 = w.q.narrow != nullptr;
    run(stream, attention);
  }
  in_row_blocks(stream, n, after, [&](size_t r, size_t m) {
    T* middle = s.middle + r * h;
    const auto normed = s.normed2 + r * h;
    if (products) linear<T>(stream, m, qs, h, s.attended + r * qs, w.o, middle, nullptr, s.x + r * h);
    rms_norm(stream, m, h, middle, w.post_norm, t.epsilon, normed, s.rstd2 + r);
    if (!mlp) return;
    const auto gate = s.gate + r * mlp, up = s.up + r * mlp, activated = s.activated + r * mlp;
    if (products) {
      linear(stream, m, h, mlp, normed, w.gate, gate);
      linear(stream, m, h, mlp, normed, w.up, up);
    }
    run(stream, SwiGlu<T>{matrix<const T>(gate.wide, m, mlp), matrix<const T>(up.wide, m, mlp), matrix(activated.wide, m, mlp), gate.narrow, up.narrow, activated.narrow});
    if (out) linear<T>(stream, m, mlp, h, activated, w.down, out + r * h, nullptr, middle);
  });
  if (mlp) return;
  moe_forward<T>(stream, t, w.moe, n, s.normed2.wide, s.moe, products);
  if (out) moe_output<T>(stream, t, w.moe, n, s.moe, s.middle, out);
}

template <class T>
T* TextModel<T>::forward(Stream& stream, const TextInput& input, const VisualFeatures<T>& features, Keep keep, Scratch& scratch,
                         const CachedRows<T>* cached) {
  const auto& t = c_.text;
  const size_t n = input.rows(), h = t.hidden, ks = t.key_size(), d = t.head_dim, past = cached ? cached->past() : 0;
  keep_ = keep;
  narrow_ = stream.accelerator && w_.narrow;

  T* x = scratch.take<T>(n * h);
  in_ = {on_device(stream, input.ids, scratch), on_device(stream, input.segment_starts, scratch), on_device(stream, input.segment_prefix, scratch),
         on_device(stream, input.visual_rows, scratch), on_device(stream, input.visual_source, scratch)};
  embed(stream, in_.ids, w_.embedding, t.vocab, h, x);
  if (!input.visual_rows.empty())
    run(stream, VisualSplice<T>{matrix<const T>(features.levels[0], features.count, h), in_.visual_rows,
                                in_.visual_source, matrix(x, n, h)});
  cosine_ = scratch.take<T>(n * d / 2);
  sine_ = scratch.take<T>(n * d / 2);
  rope_table(stream, input.positions, cosine_, sine_);

  State shared{};  // where what is not kept is written, layer after layer
  if (keep < Keep::products) take_products(n, shared, scratch, past, narrow_);
  if (keep < Keep::everything) take_rowwise(n, shared, scratch, past);
  T* other = keep == Keep::nothing ? scratch.take<T>(n * h) : nullptr;

  layers_.clear();
  for (size_t l = 0; l < t.layers; l++) {
    const auto& w = w_.layers[l];
    State s = shared;
    s.mark = scratch.mark(), s.x = x;
    if (keep >= Keep::products) take_products(n, s, scratch, past, narrow_);
    if (keep >= Keep::everything) take_rowwise(n, s, scratch, past);
    if (past) cached->load(stream, l, s.k_roped - past * ks, s.v - past * ks);
    if (other) std::swap(x, other);
    else x = scratch.take<T>(n * h);
    layer_forward(stream, n, w, s, true, x, past);
    if (cached) cached->store(stream, l, s.k_roped, s.v);
    if (l + 1 < features.levels.size() && !input.visual_rows.empty())
      run(stream, DeepstackAdd<T>{matrix<const T>(features.levels[l + 1], features.count, h), in_.visual_rows,
                                  in_.visual_source, matrix(x, n, h)});
    layers_.push_back(s);
  }
  return x;
}

template <class T> Rows<T> TextModel<T>::take_gradient(Stream& stream, size_t rows, Scratch& scratch) const {
  const size_t size = rows * c_.text.hidden;
  return Rows<T>::both(scratch.take<T>(size), size, stream.accelerator && w_.narrow, scratch);
}

template <class T>
void TextModel<T>::layer_backward(Stream& stream, size_t n, const TextLayer<T>& w, const State& s, const Rows<T>& dX) {
  const auto& t = c_.text;
  const size_t h = t.hidden, qs = t.query_size(), ks = t.key_size(), d = t.head_dim;
  Scratch scratch(stream);
  T* d_normed = scratch.take<T>(n * h);
  if (keep_ < Keep::everything) layer_forward(stream, n, w, s, keep_ < Keep::products, nullptr);
  if (t.moe.experts) {
    moe_backward<T>(stream, t, w.moe, n, dX.wide, s.normed2.wide, s.moe, d_normed);
  } else {
    const auto d_activated = s.activated, d_gate = s.activated, d_up = s.up;  // in the place of what nobody reads any more
    linear_backward<T>(stream, n, t.mlp, h, dX, s.activated, w.down, nullptr, d_activated);
    run(stream, SwiGluBackward<T>{matrix<const T>(d_activated.wide, n, t.mlp), matrix<const T>(s.gate.wide, n, t.mlp), matrix<const T>(s.up.wide, n, t.mlp),
                                  matrix(d_gate.wide, n, t.mlp), matrix(d_up.wide, n, t.mlp), d_activated.narrow, s.gate.narrow, s.up.narrow,
                                  d_gate.narrow, d_up.narrow});
    linear_backward<T>(stream, n, h, t.mlp, d_gate, s.normed2, w.gate, nullptr, d_normed);
    linear_backward<T>(stream, n, h, t.mlp, d_up, s.normed2, w.up, nullptr, d_normed, true);
  }
  rms_norm_backward<T>(stream, n, h, d_normed, s.middle, w.post_norm, s.rstd2, dX.wide, dX);

  const auto d_attended = Rows<T>::take(n * qs, narrow_, scratch);
  T *d_q = scratch.take<T>(n * qs), *d_k = scratch.take<T>(n * ks);
  const auto d_v = Rows<T>::take(n * ks, narrow_, scratch);
  const auto d_q_product = Rows<T>::beside(d_q, n * qs, narrow_, scratch), d_k_product = Rows<T>::beside(d_k, n * ks, narrow_, scratch);
  linear_backward<T>(stream, n, qs, h, dX, s.attended, w.o, nullptr, d_attended);
  AttentionBackward<T> attention{cube<const T>(d_attended.wide, n, t.heads, d), cube<const T>(s.q_roped, n, t.heads, d),
                                 cube<const T>(s.k_roped, n, t.kv_heads, d), cube<const T>(s.v, n, t.kv_heads, d),
                                 cube<const T>(s.attended.wide, n, t.heads, d), matrix<const T>(s.log_sum_exp, n, t.heads),
                                 in_.segment_starts, in_.segment_prefix, true,
                                 1 / std::sqrt(static_cast<double>(d)), cube(d_q, n, t.heads, d), cube(d_k, n, t.kv_heads, d),
                                 cube(d_v.wide, n, t.kv_heads, d)};
  attention.in_bf16 = w.q.narrow != nullptr;
  attention.narrow_dOutput = d_attended.narrow, attention.narrow_output = s.attended.narrow, attention.narrow_dValue = d_v.narrow;
  run(stream, attention);
  norm_heads_backward(stream, n, t.heads, d_q, s.q, w.q_norm, s.q_rstd, d_q_product);
  norm_heads_backward(stream, n, t.kv_heads, d_k, s.k, w.k_norm, s.k_rstd, d_k_product);
  linear_backward<T>(stream, n, h, qs, d_q_product, s.normed1, w.q, nullptr, d_normed);
  linear_backward<T>(stream, n, h, ks, d_k_product, s.normed1, w.k, nullptr, d_normed, true);
  linear_backward<T>(stream, n, h, ks, d_v, s.normed1, w.v, nullptr, d_normed, true);
  rms_norm_backward<T>(stream, n, h, d_normed, s.x, w.input_norm, s.rstd1, dX.wide, dX);
}

template <class T>
void TextModel<T>::backward(Stream& stream, const TextInput& input, const VisualFeatures<T>& d_features, const Rows<T>& dX, Weights<T>& weights,
                            GradientSink<T>* sink, Scratch& scratch) {
  const auto& t = c_.text;
  const size_t n = input.rows(), h = t.hidden;
  const auto d_hidden = matrix<const T>(dX.wide, n, h);
  const bool visual = !input.visual_rows.empty() && !d_features.levels.empty();
  const auto gather = [&](size_t level) {
    if (!visual || level >= d_features.levels.size()) return;
    run(stream, VisualGather<T>{d_hidden, in_.visual_rows, in_.visual_source, matrix(d_features.levels[level], d_features.count, h)});
  };
  round_rows(stream, dX, n * h);
  for (size_t l = t.layers; l-- > w_.lowest_layer;) {
    {
      const LentGradients<T> gradients(stream, sink, weights.layers[l]);
      gather(l + 1);
      layer_backward(stream, n, weights.layers[l], layers_[l], dX);
      gradients.finish();
    }
    scratch.give_back(layers_[l].mark);
  }
  gather(0);
  if (!weights.embedding.trained()) return;
  const bool tied = weights.embedding.gradient;  // lent before, if at all: the head has added to it
  const LentGradients<T> own(stream, tied ? nullptr : sink, weights.embedding);
  run(stream, EmbeddingBackward<T>{in_.ids, d_hidden, matrix(added_to(stream, weights.embedding), t.vocab, h)});
  own.finish();
}

template class TextModel<float>;
template class TextModel<double>;

}  // namespace g2rpo::qwen3vl
