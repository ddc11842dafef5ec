#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "../../core/status.h"
#include "../../ops/attention/op.h"
#include "../../ops/sample/op.h"
#include "../../ops/swiglu/op.h"
#include "../../ops/visual_splice/op.h"
#include "layers.h"
#include "policy.h"

namespace g2rpo::qwen3vl {

namespace {

View<const int32_t> list(const std::vector<int32_t>& v) { return {v.data(), v.size()}; }

/** Memory of a cache: [rows, capacity, kv heads, head dim]. */
template <class T> struct Cache {
  struct Free {
    void operator()(T* data) const { deallocate(data, 0); }
  };
  std::unique_ptr<T, Free> data;
  Cache(size_t count) : data(static_cast<T*>(allocate(count * sizeof(T)))) {}
  T* get() const { return data.get(); }
};

/** The rollouts under way. Row i of every buffer belongs to the rollout slot[i]; ended ones are closed up now and then. */
template <class T> struct Decoder {
  const Config& c;
  size_t rows, capacity;
  std::vector<int32_t> slot, prefix_start, prefix_length, position;
  std::vector<Cache<T>> own_keys, own_values;  // per layer
  std::vector<uint8_t> seen;             // [rows, vocab] if there is a repetition penalty
  std::vector<bool> ended;

  /** Makes room for `wanted` keys a row: caches grow with what is written, not with what might be. */
  void grow(size_t wanted) {
    const size_t ks = c.text.key_size();
    for (auto* caches : {&own_keys, &own_values})
      for (auto& cache : *caches) {
        Cache<T> larger(rows * wanted * ks);
        for (size_t i = 0; i < rows; i++)
          std::memcpy(larger.get() + i * wanted * ks, cache.get() + i * capacity * ks, capacity * ks * sizeof(T));
        cache = std::move(larger);
      }
    capacity = wanted;
  }

  /** Drops ended rows from all buffers, keeping the order; `length` keys of each row are in use. */
  void close_up(size_t length) {
    const size_t stride = capacity * c.text.key_size(), used = length * c.text.key_size(), vocab = c.text.vocab;
    size_t to = 0;
    for (size_t from = 0; from < rows; from++) {
      if (ended[from]) continue;
      if (from != to) {
        slot[to] = slot[from];
        prefix_start[to] = prefix_start[from];
        prefix_length[to] = prefix_length[from];
        position[to] = position[from];
        for (auto* caches : {&own_keys, &own_values})
          for (auto& cache : *caches) std::memcpy(cache.get() + to * stride, cache.get() + from * stride, used * sizeof(T));
        if (!seen.empty()) std::memcpy(seen.data() + to * vocab, seen.data() + from * vocab, vocab);
      }
      to++;
    }
    rows = to;
    ended.assign(rows, false);
  }
};

}  // namespace

template <class T>
std::vector<Generation<T>> Policy<T>::generate(Stream& stream, const Batch<T>& prompts, const std::vector<int32_t>& rope_delta,
                                               const SamplingOptions& o, const std::function<bool()>& stop) {
  check(prompts);
  const auto& t = c_.text;
  const size_t count = rope_delta.size(), h = t.hidden, ks = t.key_size(), qs = t.query_size(), d = t.head_dim, vocab = t.vocab;
  const auto& starts = prompts.text.segment_starts;
  if (starts.size() != count + 1) throw Error("INVALID_ARGUMENT", "generate: there must be one segment and one ropeDelta per prompt");
  if (o.rollouts < 1 || o.max_tokens < 1) throw Error("INVALID_ARGUMENT", "generate: n and maxTokens must be at least 1");
  for (size_t p = 0; p < count; p++)
    if (starts[p] == starts[p + 1]) throw Error("INVALID_ARGUMENT", "generate: a prompt without tokens");
  std::vector<Generation<T>> out(count * static_cast<size_t>(o.rollouts));
  if (count == 0) return out;

  std::vector<uint8_t> allowed;
  if (!o.banned_ids.empty()) {
    allowed.assign(vocab, 1);
    for (int32_t id : o.banned_ids)
      if (id >= 0 && static_cast<size_t>(id) < vocab) allowed[static_cast<size_t>(id)] = 0;
  }

  Scratch scratch;
  constexpr size_t kFirstCapacity = 64, kFewRows = 16;  // few rows read weights as they are
  const size_t batch = out.size(), longest = static_cast<size_t>(o.max_tokens), prompt_rows = prompts.text.rows();
  Decoder<T> s{c_, batch, std::min(longest, kFirstCapacity), {}, {}, {}, {}, {}, {}, {}, std::vector<bool>(batch)};
  KeyValueSink<T> prefix;
  for (size_t l = 0; l < t.layers; l++) {
    prefix.keys.push_back(scratch.take<T>(prompt_rows * ks));
    prefix.values.push_back(scratch.take<T>(prompt_rows * ks));
    s.own_keys.emplace_back(batch * s.capacity * ks);
    s.own_values.emplace_back(batch * s.capacity * ks);
  }

  // prompts and their pictures once; every rollout of a prompt starts from the same logits
  T* logits = scratch.take<T>(batch * vocab);
  {
    Scratch inner;
    const T* hidden = hidden_rows(stream, prompts, Keep::nothing, inner, &prefix);
    std::vector<int32_t> last(batch);
    for (size_t i = 0; i < batch; i++) last[i] = starts[i / static_cast<size_t>(o.rollouts) + 1] - 1;
    const auto g = gather(stream, hidden, prompt_rows, last, inner);
    linear(stream, batch, h, vocab, g.normed, w_.head, logits);
  }
  for (size_t i = 0; i < batch; i++) {
    const size_t p = i / static_cast<size_t>(o.rollouts);
    s.slot.push_back(static_cast<int32_t>(i));
    s.prefix_start.push_back(starts[p]);
    s.prefix_length.push_back(starts[p + 1] - starts[p]);
    s.position.push_back(starts[p + 1] - starts[p] + rope_delta[p]);
  }
  if (o.repetition_penalty != 1) {
    s.seen.assign(batch * vocab, 0);
    for (size_t i = 0; i < batch; i++)
      for (int32_t r = s.prefix_start[i]; r < s.prefix_start[i] + s.prefix_length[i]; r++)
        // the placeholder that a picture replaced counts as seen too, as in the reference; it is banned anyway
        if (prompts.text.ids[static_cast<size_t>(r)] >= 0)
          s.seen[i * vocab + static_cast<size_t>(prompts.text.ids[static_cast<size_t>(r)])] = 1;
  }

  // weights that every step multiplies by: packed once
  std::vector<TextLayer<T>> layers = w_.layers;
  Parameter<T> head = w_.head;
  if (batch > kFewRows) {
    for (auto& w : layers) {
      pack(stream, h, qs, w.q, scratch);
      for (auto* kv : {&w.k, &w.v}) pack(stream, h, ks, *kv, scratch);
      pack(stream, qs, h, w.o, scratch);
      if (t.moe.experts) continue;  // which of them a step needs is not known before
      for (auto* wide : {&w.gate, &w.up}) pack(stream, h, t.mlp, *wide, scratch);
      pack(stream, t.mlp, h, w.down, scratch);
    }
    pack(stream, h, vocab, head, scratch);
  }

  for (int32_t step = 0; step < o.max_tokens; step++) {
    if (stop()) throw Error("ABORTED", "generate: stopped by the caller");
    std::vector<int32_t> keys(s.rows * 4), tokens(s.rows);
    std::vector<T> log_probs(s.rows), entropy(s.rows);
    for (size_t i = 0; i < s.rows; i++) {
      keys[4 * i] = o.seed;
      keys[4 * i + 1] = o.step;
      keys[4 * i + 2] = o.rollout_offset + s.slot[i];
      keys[4 * i + 3] = step;
    }
    Sample<T> sample{matrix<const T>(logits, s.rows, vocab), {}, {}, matrix<const int32_t>(keys.data(), s.rows, 4), o.temperature, o.top_k,
                     o.top_p, o.repetition_penalty, vector(tokens.data(), s.rows), vector(log_probs.data(), s.rows),
                     vector(entropy.data(), s.rows)};
    if (!s.seen.empty()) sample.seen = matrix<const uint8_t>(s.seen.data(), s.rows, vocab);
    if (!allowed.empty()) sample.allowed = vector<const uint8_t>(allowed.data(), vocab);
    run(stream, sample);
    if (stream.failed()) return out;

    size_t alive = 0;
    for (size_t i = 0; i < s.rows; i++) {
      if (s.ended[i]) continue;
      auto& g = out[static_cast<size_t>(s.slot[i])];
      g.tokens.push_back(tokens[i]);
      g.log_probs.push_back(log_probs[i]);
      g.entropy.push_back(entropy[i]);
      g.stopped = std::find(o.stop_ids.begin(), o.stop_ids.end(), tokens[i]) != o.stop_ids.end();
      s.ended[i] = g.stopped;
      if (!g.stopped) alive++;
      if (!s.seen.empty()) s.seen[i * vocab + static_cast<size_t>(tokens[i])] = 1;
    }
    if (alive == 0 || step + 1 == o.max_tokens) break;
    if (alive * 8 < s.rows * 7) {
      // tokens of the rows that stay, in the same order
      size_t to = 0;
      for (size_t i = 0; i < s.rows; i++)
        if (!s.ended[i]) tokens[to++] = tokens[i];
      s.close_up(static_cast<size_t>(step));
      tokens.resize(s.rows);
    }

    if (static_cast<size_t>(step) == s.capacity) s.grow(std::min(longest, 2 * s.capacity));

    // one new token per row through the layers
    Scratch inner;
    const size_t n = s.rows;
    T* x = inner.take<T>(n * h);
    T* next = inner.take<T>(n * h);
    T* normed = inner.take<T>(n * h);
    T* rstd = inner.take<T>(n * t.heads);
    T* q_raw = inner.take<T>(n * qs);
    T* q = inner.take<T>(n * qs);
    T* k_raw = inner.take<T>(n * ks);
    T* k = inner.take<T>(n * ks);
    T* v = inner.take<T>(n * ks);
    T* attended = inner.take<T>(n * qs);
    const size_t mlp = t.moe.experts ? 0 : t.mlp;
    T* gate = inner.take<T>(n * mlp);
    T* up = inner.take<T>(n * mlp);
    T* cosine = inner.take<T>(n * d / 2);
    T* sine = inner.take<T>(n * d / 2);
    std::vector<int32_t> positions(3 * n), own_length(n, step + 1);
    for (size_t i = 0; i < n; i++) positions[i] = positions[n + i] = positions[2 * n + i] = s.position[i] + step;
    text_.rope_table(stream, positions.data(), n, cosine, sine);
    embed(stream, list(tokens), w_.embedding, vocab, h, x);
    for (size_t l = 0; l < t.layers; l++) {
      const auto& w = layers[l];
      rms_norm(stream, n, h, x, w.input_norm, t.epsilon, normed, rstd);
      linear(stream, n, h, qs, normed, w.q, q_raw);
      linear(stream, n, h, ks, normed, w.k, k_raw);
      linear(stream, n, h, ks, normed, w.v, v);
      rms_norm(stream, n * t.heads, d, q_raw, w.q_norm, t.epsilon, q, rstd);
      rms_norm(stream, n * t.kv_heads, d, k_raw, w.k_norm, t.epsilon, k, rstd);
      text_.rope(stream, n, t.heads, cosine, sine, q, false);
      text_.rope(stream, n, t.kv_heads, cosine, sine, k, false);
      for (size_t i = 0; i < n; i++) {
        const size_t at = (i * s.capacity + static_cast<size_t>(step)) * ks;
        std::memcpy(s.own_keys[l].get() + at, k + i * ks, ks * sizeof(T));
        std::memcpy(s.own_values[l].get() + at, v + i * ks, ks * sizeof(T));
      }
      const auto cache = [&](const Cache<T>& rows) {
        View<const T> view(rows.get(), n * s.capacity * ks);
        view.dim[0] = n, view.dim[1] = s.capacity, view.dim[2] = t.kv_heads, view.dim[3] = d;
        return view;
      };
      run(stream, DecodeAttention<T>{cube<const T>(q, n, t.heads, d), cube<const T>(prefix.keys[l], prompt_rows, t.kv_heads, d),
                                     cube<const T>(prefix.values[l], prompt_rows, t.kv_heads, d),
                                     View<const int32_t>(s.prefix_start.data(), n), View<const int32_t>(s.prefix_length.data(), n),
                                     cache(s.own_keys[l]), cache(s.own_values[l]), list(own_length),
                                     1 / std::sqrt(static_cast<double>(d)), cube(attended, n, t.heads, d)});
      linear<T>(stream, n, qs, h, attended, w.o, next, nullptr, x);
      rms_norm(stream, n, h, next, w.post_norm, t.epsilon, normed, rstd);
      if (t.moe.experts) {
        Scratch of_experts;
        MoeState<T> state;
        state.take_products(t.moe, n, of_experts);
        state.take_rowwise(t.moe, n, of_experts);
        moe_forward<T>(stream, t, w.moe, n, normed, state, true);
        moe_output<T>(stream, t, w.moe, n, state, next, x);
        continue;
      }
      linear(stream, n, h, t.mlp, normed, w.gate, gate);
      linear(stream, n, h, t.mlp, normed, w.up, up);
      run(stream, SwiGlu<T>{matrix<const T>(gate, n, t.mlp), matrix<const T>(up, n, t.mlp), matrix(gate, n, t.mlp)});
      linear<T>(stream, n, t.mlp, h, gate, w.down, x, nullptr, next);
    }
    rms_norm(stream, n, h, x, w_.final_norm, t.epsilon, normed, rstd);
    linear(stream, n, h, vocab, normed, head, logits);
  }
  return out;
}

template std::vector<Generation<float>> Policy<float>::generate(Stream&, const Batch<float>&, const std::vector<int32_t>&,
                                                                const SamplingOptions&, const std::function<bool()>&);
template std::vector<Generation<double>> Policy<double>::generate(Stream&, const Batch<double>&, const std::vector<int32_t>&,
                                                                  const SamplingOptions&, const std::function<bool()>&);

}  // namespace g2rpo::qwen3vl
