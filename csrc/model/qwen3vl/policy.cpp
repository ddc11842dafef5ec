#include "policy.h"

#include "../../core/status.h"
#include "../../ops/head/op.h"
#include "../../ops/visual_splice/op.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

/** Positions from which sums would leave 32 bits. */
constexpr int32_t kFar = 1 << 30;

[[noreturn]] void refuse(const std::string& message) { throw Error("INVALID_ARGUMENT", "batch: " + message); }

void want_in(const char* name, size_t i, int32_t value, int32_t end) {
  if (value >= 0 && value < end) return;
  refuse(std::string(name) + "[" + std::to_string(i) + "] must be in [0, " + std::to_string(end) + "); got " + std::to_string(value));
}

}  // namespace

/** Nothing that comes from outside may reach an op as an index before this. */
template <class T> void Policy<T>::check(const Batch<T>& b) const {
  const auto rows = static_cast<int32_t>(b.text.rows());
  if (b.text.positions.size() != 3 * b.text.rows()) refuse("positionIds must hold 3 · S entries");
  for (size_t i = 0; i < b.text.positions.size(); i++) want_in("positionIds", i, b.text.positions[i], kFar);
  if (b.text.segment_starts.empty() || b.text.segment_starts.front() != 0 || b.text.segment_starts.back() != rows)
    refuse("segmentStarts must rise from 0 to S");
  for (size_t z = 1; z < b.text.segment_starts.size(); z++)
    if (b.text.segment_starts[z] < b.text.segment_starts[z - 1]) refuse("segmentStarts must rise from 0 to S");
  if (b.text.segment_prefix.size() + 1 != b.text.segment_starts.size()) refuse("segmentPrefix must hold one entry per segment");
  if (b.vision.grids.size() != 3 * b.vision.shown.size()) refuse("there must be a grid for each picture and video");
  for (size_t g = 0; g < b.vision.grids.size(); g += 3) {
    const auto m = static_cast<int32_t>(c_.vision.merge);
    const int32_t t = b.vision.grids[g], h = b.vision.grids[g + 1], w = b.vision.grids[g + 2];
    if (t < 1 || h < m || w < m || h % m || w % m || t > 65536 || h > 65536 || w > 65536)
      refuse("a grid must be (t, h, w) with h and w multiples of " + std::to_string(m));
  }
  const auto features = static_cast<int32_t>(b.vision.tokens(c_.vision));
  if (b.text.visual_rows.size() != b.text.visual_source.size()) refuse("visualRows and visualSource must be as long as each other");
  std::vector<bool> visual(b.text.rows());
  for (size_t k = 0; k < b.text.visual_rows.size(); k++) {
    const int32_t row = b.text.visual_rows[k];
    want_in("visualRows", k, row, rows);
    if (visual[static_cast<size_t>(row)]) refuse("visualRows must name each row once; got " + std::to_string(row) + " again at " + std::to_string(k));
    visual[static_cast<size_t>(row)] = true;
    want_in("visualSource", k, b.text.visual_source[k], features);
  }
  const auto vocab = static_cast<int32_t>(c_.text.vocab);
  for (size_t s = 0; s < b.text.rows(); s++)
    if (!visual[s] || b.text.ids[s] != -1) want_in("inputIds", s, b.text.ids[s], vocab);
  if (b.target_rows.size() != b.target_ids.size()) refuse("targetRows and targetIds must be as long as each other");
  for (size_t i = 0; i < b.target_rows.size(); i++) {
    want_in("targetRows", i, b.target_rows[i], rows);
    want_in("targetIds", i, b.target_ids[i], vocab);
  }
}

template <class T>
VisualFeatures<T> Policy<T>::visual_features(Stream& stream, const Batch<T>& batch, Keep keep, Scratch& scratch) {
  if (batch.vision.shown.empty()) return {};
  vision_.forward(stream, batch.vision, keep, scratch);
  return {batch.vision.tokens(c_.vision), vision_.levels};
}

template <class T> T* Policy<T>::hidden_rows(Stream& stream, const Batch<T>& batch, Scratch& scratch) {
  return text_.forward(stream, batch.text, visual_features(stream, batch, Keep::nothing, scratch), Keep::nothing, scratch);
}

template <class T>
typename Policy<T>::Gathered Policy<T>::gather(Stream& stream, const T* hidden, size_t rows, const std::vector<int32_t>& targets,
                                               Scratch& scratch) {
  const size_t n = targets.size(), h = c_.text.hidden;
  Gathered g{scratch.take<T>(n * h), scratch.take<T>(n * h), scratch.take<T>(n)};
  run(stream, GatherRows<T>{matrix(hidden, rows, h), on_device(stream, targets, scratch), matrix(g.rows, n, h)});
  rms_norm(stream, n, h, g.rows, w_.final_norm, c_.text.epsilon, g.normed, g.rstd);
  return g;
}

template <class T> Scores<T> Policy<T>::forward(Stream& stream, const Batch<T>& batch, double temperature) {
  check(batch);
  Scratch scratch(stream);
  const size_t n = batch.target_ids.size(), h = c_.text.hidden;
  const auto g = gather(stream, hidden_rows(stream, batch, scratch), batch.text.rows(), batch.target_rows, scratch);
  T *log_probs = scratch.take<T>(n), *entropy = scratch.take<T>(n), *log_sum_exp = scratch.take<T>(n);
  with_values(w_.head, [&]<class W>(const W* head) {
    run(stream, Head<T, W>{matrix<const T>(g.normed, n, h), matrix(head, c_.text.vocab, h), on_device(stream, batch.target_ids, scratch),
                           temperature, vector(log_probs, n), vector(entropy, n), vector(log_sum_exp, n)});
  });
  return {on_host(stream, log_probs, n), on_host(stream, entropy, n), {}, {}};
}

template <class T>
void Policy<T>::head_backward(Stream& stream, const Batch<T>& batch, const TokenLoss<T>& loss, double temperature, const T* hidden, T* dX,
                              const Results& results, GradientSink<T>* sink) {
  const size_t n = batch.target_ids.size(), h = c_.text.hidden;
  const LentGradients<T> own(stream, c_.tied ? nullptr : sink, w_.head);
  const LentGradients<T> of_norm(stream, sink, w_.final_norm);
  Scratch scratch(stream);
  const auto g = gather(stream, hidden, batch.text.rows(), batch.target_rows, scratch);
  T* d_normed = scratch.take<T>(n * h);
  const auto on_stream = [&](const std::vector<T>& values) { return on_device(stream, values, scratch); };
  with_values(w_.head, [&]<class W>(const W* head) {
    run(stream, HeadPolicyLoss<T, W>{matrix<const T>(g.normed, n, h), matrix(head, c_.text.vocab, h), on_device(stream, batch.target_ids, scratch),
                                     on_stream(loss.old_log_probs), on_stream(loss.advantages), on_stream(loss.weights),
                                     on_stream(loss.ref_log_probs), on_stream(loss.kl_weights), on_stream(loss.log_prob_slopes),
                                     on_stream(loss.entropy_slopes), matrix(added_to(stream, w_.head), c_.text.vocab, h), temperature,
                                     static_cast<int32_t>(loss.kind), loss.clip_low, loss.clip_high, loss.clip_dual, loss.tau_positive,
                                     loss.tau_negative, static_cast<int32_t>(loss.kl), vector(results.log_probs, n), vector(results.entropy, n),
                                     vector(results.loss, n), vector(results.clipped, n), matrix(d_normed, n, h)});
  });
  rms_norm_backward<T>(stream, n, h, d_normed, g.rows, w_.final_norm, g.rstd, nullptr, d_normed);
  own.finish();
  of_norm.finish();
  if (!dX) return;
  clear(stream, dX, batch.text.rows() * h);
  run(stream, GatherRowsBackward<T>{matrix<const T>(d_normed, n, h), on_device(stream, batch.target_rows, scratch), matrix(dX, batch.text.rows(), h)});
}

/**
 * Memory is taken in the order in which it is needed last: gradients that pass from part to part lie before what the forward pass keeps, so that
 * what is kept of a layer can be given back when its backward pass is over.
 */
template <class T>
Scores<T> Policy<T>::forward_backward(Stream& stream, const Batch<T>& batch, const TokenLoss<T>& loss, double temperature, Keep keep,
                                      bool accumulate, GradientSink<T>* sink) {
  check(batch);
  Scratch scratch(stream);
  const size_t n = batch.target_ids.size();
  std::vector<const std::vector<T>*> lists{&loss.advantages, &loss.weights, &loss.log_prob_slopes, &loss.entropy_slopes};
  if (!loss.old_log_probs.empty()) lists.push_back(&loss.old_log_probs);
  if (loss.kl != KlKind::none) lists.insert(lists.end(), {&loss.ref_log_probs, &loss.kl_weights});
  for (const auto* v : lists)
    if (v->size() != n) refuse("every list of the loss must hold one entry per target");
  w_.each([&](const Parameter<T>& p) {
    p.fresh = !accumulate && p.gradient;
    if (!accumulate && p.adapter.dA) clear_gradients(stream, p.adapter);
  });
  const Results results{scratch.take<T>(n), scratch.take<T>(n), scratch.take<T>(n), scratch.take<int32_t>(n)};
  const bool visual = !batch.vision.shown.empty() && w_.vision_trained;
  VisualFeatures<T> d_features;
  T* d_patches = nullptr;
  if (visual) {
    d_features.count = batch.vision.tokens(c_.vision);
    for (size_t k = 0; k <= c_.vision.taps.size(); k++) {
      d_features.levels.push_back(scratch.take<T>(d_features.count * c_.text.hidden));
      clear(stream, d_features.levels.back(), d_features.count * c_.text.hidden);
    }
    d_patches = scratch.take<T>(batch.vision.patches() * c_.vision.hidden);
  }
  const auto features = visual_features(stream, batch, w_.vision_trained ? keep : Keep::nothing, scratch);
  {
    // a tied embedding is finished when the language model is, its head comes first
    const LentGradients<T> tied(stream, c_.tied ? sink : nullptr, w_.embedding);
    if (c_.tied) w_.head.gradient = added_to(stream, w_.embedding);
    Scratch inner(stream);
    const Rows<T> dX = w_.below_head_trained() ? text_.take_gradient(stream, batch.text.rows(), inner) : Rows<T>();
    const T* hidden = text_.forward(stream, batch.text, features, keep, inner);
    head_backward(stream, batch, loss, temperature, hidden, dX.wide, results, sink);
    if (dX.wide) text_.backward(stream, batch.text, d_features, dX, w_, sink, inner);
    tied.finish();
  }
  if (c_.tied) w_.head.gradient = w_.embedding.gradient;
  if (visual) vision_.backward(stream, batch.vision, d_features.levels, d_patches, w_, sink, scratch);
  else if (sink && w_.vision_trained) vision_.hand_zeros(stream, w_, sink);
  w_.each([&](const Parameter<T>& p) { added_to(stream, p); });  // of what the pass has not reached
  return {on_host(stream, results.log_probs, n), on_host(stream, results.entropy, n), on_host(stream, results.loss, n), on_host(stream, results.clipped, n)};
}

template <class T>
std::vector<T> Policy<T>::logits(Stream& stream, const Batch<T>& batch, const std::vector<int32_t>& rows) {
  check(batch);
  for (size_t i = 0; i < rows.size(); i++) want_in("rows", i, rows[i], static_cast<int32_t>(batch.text.rows()));
  Scratch scratch(stream);
  const auto g = gather(stream, hidden_rows(stream, batch, scratch), batch.text.rows(), rows, scratch);
  T* out = scratch.take<T>(rows.size() * c_.text.vocab);
  linear(stream, rows.size(), c_.text.hidden, c_.text.vocab, g.normed, w_.head, out);
  return on_host(stream, out, rows.size() * c_.text.vocab);
}

template <class T> std::vector<std::vector<T>> Policy<T>::features(Stream& stream, const VisionInput<T>& input) {
  Batch<T> batch;
  batch.text.segment_starts = {0};
  batch.vision = input;
  check(batch);
  Scratch scratch(stream);
  vision_.forward(stream, input, Keep::nothing, scratch);
  const size_t size = input.tokens(c_.vision) * c_.text.hidden;
  std::vector<std::vector<T>> out;
  for (const T* level : vision_.levels) out.push_back(on_host(stream, level, size));
  return out;
}

template class Policy<float>;
template class Policy<double>;

}  // namespace g2rpo::qwen3vl
