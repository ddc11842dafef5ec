// A token of every live rollout of the engine: one forward pass over all of them, then the draws.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../../ops/attention/op.h"
#include "../../ops/sample/op.h"
#include "../../ops/swiglu/op.h"
#include "engine.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

constexpr size_t kLogitRows = 256;  // rows whose logits are there at a time

bool ends_with(const std::vector<int32_t>& tokens, const std::vector<int32_t>& end) {
  return tokens.size() >= end.size() && std::equal(end.rbegin(), end.rend(), tokens.rbegin());
}

/** Tables of pages as one matrix, and its width. */
struct PageTable {
  std::vector<const Pages*> lines;
  std::vector<int32_t> data;
  size_t width = 1;
  View<const int32_t> view() {
    for (const auto* pages : lines) width = std::max(width, pages->size());
    data.assign(lines.size() * width, 0);
    for (size_t i = 0; i < lines.size(); i++) std::copy(lines[i]->begin(), lines[i]->end(), data.begin() + static_cast<ptrdiff_t>(i * width));
    return {data.data(), lines.size(), width};
  }
};

}  // namespace

template <class T> void Engine<T>::decode(Stream& stream, const std::vector<Row>& rows) {
  Scratch scratch;
  std::vector<Row> fed;
  for (const auto& row : rows)
    if (!row.rollout->draws()) fed.push_back(row);
  const T* normed = forward(stream, fed, scratch);
  // rows that draw, in their order: those that begin do so from the last row of their prompt
  std::vector<Row> drawing;
  std::vector<const T*> hidden;
  size_t next = 0;
  for (const auto& row : rows) {
    const T* own = row.group->last.data();
    if (!row.rollout->draws()) {
      own = normed + next++ * c_.text.hidden;
      row.rollout->cached++;
    }
    if (!row.rollout->draws()) continue;  // it was put off before, and has not come to where it was
    drawing.push_back(row);
    hidden.push_back(own);
  }
  if (!stream.failed()) draw(stream, drawing, hidden);
}

template <class T> T* Engine<T>::forward(Stream& stream, const std::vector<Row>& rows, Scratch& scratch) {
  const auto& t = c_.text;
  const size_t n = rows.size(), h = t.hidden, ks = t.key_size(), qs = t.query_size(), d = t.head_dim;
  T* out = scratch.take<T>(n * h);
  if (n == 0) return out;
  Scratch inner;
  typename TextModel<T>::State s;  // of one layer after the other
  text_.take_products(n, s, inner);
  if (t.moe.experts) s.moe.take_rowwise(t.moe, n, inner);
  T* x = inner.take<T>(n * h);
  T* normed = inner.take<T>(n * h);
  T* rstd = inner.take<T>(n * t.heads);
  T* q = inner.take<T>(n * qs);
  T* k = inner.take<T>(n * ks);
  T* cosine = inner.take<T>(n * d / 2);
  T* sine = inner.take<T>(n * d / 2);

  std::vector<int32_t> tokens(n), positions(3 * n), prefix(n), prefix_length, own_length(n);
  PageTable prefixes, own;
  for (size_t i = 0; i < n; i++) {
    const auto& [group, r] = rows[i];
    const auto& p = group->request.prompt;
    if (i == 0 || group != rows[i - 1].group) {
      prefixes.lines.push_back(&group->pages);
      prefix_length.push_back(static_cast<int32_t>(p.rows()));
    }
    prefix[i] = static_cast<int32_t>(prefix_length.size()) - 1;
    own.lines.push_back(&r->pages);
    own_length[i] = static_cast<int32_t>(r->cached) + 1;
    tokens[i] = r->out.tokens[r->cached];
    positions[i] = positions[n + i] = positions[2 * n + i] = static_cast<int32_t>(p.rows() + r->cached) + p.rope_delta;
  }
  const auto prefix_pages = prefixes.view(), own_pages = own.view();
  text_.rope_table(stream, positions.data(), n, cosine, sine);
  embed(stream, list(tokens), w_.embedding, t.vocab, h, x);
  for (size_t l = 0; l < t.layers; l++) {
    const auto& w = w_.layers[l];
    rms_norm(stream, n, h, x, w.input_norm, t.epsilon, normed, rstd);
    linear(stream, n, h, qs, normed, w.q, s.q);
    linear(stream, n, h, ks, normed, w.k, s.k);
    linear(stream, n, h, ks, normed, w.v, s.v);
    rms_norm(stream, n * t.heads, d, s.q, w.q_norm, t.epsilon, q, rstd);
    rms_norm(stream, n * t.kv_heads, d, s.k, w.k_norm, t.epsilon, k, rstd);
    text_.rope(stream, n, t.heads, cosine, sine, q, false);
    text_.rope(stream, n, t.kv_heads, cosine, sine, k, false);
    for (size_t i = 0; i < n; i++) cache_.write(l, rows[i].rollout->pages, rows[i].rollout->cached, 1, k + i * ks, s.v + i * ks);
    run(stream, DecodeAttention<T>{cube<const T>(q, n, t.heads, d), cache_.keys(l), cache_.values(l), list(prefix), prefix_pages,
                                   list(prefix_length), own_pages, list(own_length), 1 / std::sqrt(static_cast<double>(d)),
                                   cube(s.attended, n, t.heads, d)});
    linear<T>(stream, n, qs, h, s.attended, w.o, s.middle, nullptr, x);
    rms_norm(stream, n, h, s.middle, w.post_norm, t.epsilon, normed, rstd);
    if (t.moe.experts) {
      moe_forward<T>(stream, t, w.moe, n, normed, s.moe, true);
      moe_output<T>(stream, t, w.moe, n, s.moe, s.middle, x);
      continue;
    }
    linear(stream, n, h, t.mlp, normed, w.gate, s.gate);
    linear(stream, n, h, t.mlp, normed, w.up, s.up);
    run(stream, SwiGlu<T>{matrix<const T>(s.gate, n, t.mlp), matrix<const T>(s.up, n, t.mlp), matrix(s.gate, n, t.mlp)});
    linear<T>(stream, n, t.mlp, h, s.gate, w.down, x, nullptr, s.middle);
  }
  rms_norm(stream, n, h, x, w_.final_norm, t.epsilon, out, rstd);
  return out;
}

/** Draws a token from each hidden state, some rows at a time. Rows that stand together and have one state have its logits computed once. */
template <class T> void Engine<T>::draw(Stream& stream, const std::vector<Row>& rows, const std::vector<const T*>& hidden) {
  const size_t h = c_.text.hidden, vocab = c_.text.vocab, most = std::min(rows.size(), kLogitRows);
  Scratch scratch;
  T* states = scratch.take<T>(most * h);
  T* logits = scratch.take<T>(most * vocab);
  for (size_t at = 0; at < rows.size();) {
    std::vector<Row> part;
    std::vector<size_t> source;
    const T* state = nullptr;
    size_t different = 0;
    for (; at < rows.size() && part.size() < most; at++) {
      if (rows[at].rollout->state != State::live) continue;  // its request has failed since
      if (hidden[at] != state) std::memcpy(states + different++ * h, state = hidden[at], h * sizeof(T));
      part.push_back(rows[at]);
      source.push_back(different - 1);
    }
    linear(stream, different, h, vocab, states, w_.head, logits);
    for (size_t i = part.size(); i-- > 0 && source[i] < i;) std::memcpy(logits + i * vocab, logits + source[i] * vocab, vocab * sizeof(T));
    for (size_t from = 0, to; from < part.size(); from = to) {
      const auto& choice = part[from].group->request.sampling.choice;
      for (to = from + 1; to < part.size() && part[to].group->request.sampling.choice == choice; to++) {}
      choose(stream, &part[from], to - from, logits + from * vocab);
    }
  }
}

/** Draws tokens of rows that choose alike. Where one cannot be had, its request fails and the others go on. */
template <class T> void Engine<T>::choose(Stream& stream, const Row* rows, size_t count, const T* logits) {
  const size_t vocab = c_.text.vocab;
  const auto& choice = rows[0].group->request.sampling.choice;
  Scratch scratch;
  std::vector<uint8_t> allowed(choice.banned_ids.empty() ? 0 : vocab, 1);
  for (int32_t id : choice.banned_ids)
    if (id >= 0 && static_cast<size_t>(id) < vocab) allowed[static_cast<size_t>(id)] = 0;
  std::vector<int32_t> keys(count * 4), tokens(count);
  std::vector<T> log_probs(count), entropy(count);
  for (size_t i = 0; i < count; i++) {
    const auto& [group, r] = rows[i];
    const auto& s = group->request.sampling;
    keys[4 * i] = s.seed;
    keys[4 * i + 1] = s.step;
    keys[4 * i + 2] = static_cast<int32_t>(static_cast<uint32_t>(s.rollout_offset) + static_cast<uint32_t>(r - group->rollouts.data()));
    keys[4 * i + 3] = static_cast<int32_t>(r->out.tokens.size());
  }
  Sample<T> sample{matrix(logits, count, vocab), {}, {}, matrix<const int32_t>(keys.data(), count, 4), choice.temperature, choice.top_k,
                   choice.top_p, choice.repetition_penalty, vector(tokens.data(), count), vector(log_probs.data(), count),
                   vector(entropy.data(), count)};
  if (!allowed.empty()) sample.allowed = vector<const uint8_t>(allowed.data(), vocab);
  if (choice.repetition_penalty != 1) {
    auto* seen = scratch.take<uint8_t>(count * vocab);
    std::memset(seen, 0, count * vocab);
    for (size_t i = 0; i < count; i++)
      for (const auto* ids : {&rows[i].group->request.prompt.ids, &rows[i].rollout->out.tokens})
        for (int32_t id : *ids)
          if (id >= 0) seen[i * vocab + static_cast<size_t>(id)] = 1;  // a visual feature has no id
    sample.seen = matrix<const uint8_t>(seen, count, vocab);
  }
  run(stream, sample);
  if (stream.failed()) {
    const Failure failure = stream.pool->take_failure();
    for (size_t from = 0, to; from < count; from = to) {
      for (to = from + 1; to < count && rows[to].group == rows[from].group; to++) {}
      if (from == 0 && to == count) fail(*rows[0].group, failure);
      else choose(stream, rows + from, to - from, logits + from * vocab);
    }
    return;
  }
  for (size_t i = 0; i < count; i++) {
    auto& [group, r] = rows[i];
    const auto& s = group->request.sampling;
    auto& out = r->out;
    out.tokens.push_back(tokens[i]);
    out.log_probs.push_back(log_probs[i]);
    out.entropy.push_back(entropy[i]);
    out.stopped = std::find(s.stop_ids.begin(), s.stop_ids.end(), tokens[i]) != s.stop_ids.end() ||
                  std::any_of(s.stop_sequences.begin(), s.stop_sequences.end(), [&](const auto& end) { return ends_with(out.tokens, end); });
    if (out.stopped || out.tokens.size() == static_cast<size_t>(s.max_tokens)) end(*group, *r);
  }
}

#define G2_INSTANTIATE(T)                                                                                                     \
  template void Engine<T>::decode(Stream&, const std::vector<Row>&);                                                          \
  template T* Engine<T>::forward(Stream&, const std::vector<Row>&, Scratch&);                                                 \
  template void Engine<T>::draw(Stream&, const std::vector<Row>&, const std::vector<const T*>&);                              \
  template void Engine<T>::choose(Stream&, const Row*, size_t, const T*);
G2_INSTANTIATE(float)
G2_INSTANTIATE(double)

}  // namespace g2rpo::qwen3vl
