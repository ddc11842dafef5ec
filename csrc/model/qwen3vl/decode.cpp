// A step of decoding: one forward pass over the last tokens of all live rollouts, then the draws (draw.cpp).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <type_traits>

#include "../../ops/attention/op.h"
#include "../../ops/swiglu/op.h"
#include "engine.h"
#include "joined.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

constexpr size_t kKeptSplits = size_t{32} << 20;  // bytes of what splits of attention leave that are there for all layers; more is cut by rows

/**
 * So many rows, or pages of a line, are computed: an accelerator gets some more, that are nobody's, so that most steps launch what another one
 * has launched before.
 */
size_t rounded_up(const Stream& stream, size_t n) {
  if (!stream.accelerator || n <= 2) return n;
  const size_t unit = n <= 64 ? 16 : KvCache<float>::kNobodys;
  return (n + unit - 1) / unit * unit;
}

/**
 * How many rows go through all layers by themselves, on one thread, so that threads meet once in a step and not at each op: fewer than all where
 * a core has the weights of a layer in its cache.
 */
template <class T> size_t rows_for_themselves(const Stream& stream, size_t rows, const TextConfig& t) {
  constexpr size_t kLeast = 18, kItemsOfAThread = 2;
  const size_t weights = t.hidden * (2 * t.query_size() + 2 * t.key_size() + 3 * t.mlp), threads = static_cast<size_t>(threads_of(stream));
  if (stream.accelerator || threads == 1 || weights * sizeof(T) > kWeightsInCache) return rows;
  return std::min(rows, std::max(kLeast, (rows + threads * kItemsOfAThread - 1) / (threads * kItemsOfAThread)));
}

/** Lists of a step, which go to the device as one. */
class Lists {
 public:
  size_t add(const std::vector<int32_t>& list) {
    starts_.push_back(all_.size());
    all_.insert(all_.end(), list.begin(), list.end());
    return starts_.size() - 1;
  }
  void send(Stream& stream, Scratch& scratch) { data_ = on_device(stream, all_.data(), all_.size(), scratch); }
  /** once they are sent */
  View<const int32_t> operator[](size_t i) const { return {data_ + starts_[i], (i + 1 < starts_.size() ? starts_[i + 1] : all_.size()) - starts_[i]}; }

 private:
  std::vector<int32_t> all_;
  std::vector<size_t> starts_;
  const int32_t* data_ = nullptr;
};

/** Tables of pages as one matrix of at least so many lines. */
struct PageTable {
  std::vector<const Pages*> lines;
  std::vector<int32_t> data;
  size_t width = 1;
  void fill(const Stream& stream, size_t least) {
    for (const auto* pages : lines) width = std::max(width, pages->size());
    width = rounded_up(stream, width);
    data.assign(std::max(lines.size(), least) * width, 0);
    for (size_t i = 0; i < lines.size(); i++) std::copy(lines[i]->begin(), lines[i]->end(), data.begin() + static_cast<ptrdiff_t>(i * width));
  }
};

}  // namespace

template <class T> void Engine<T>::decode(Stream& stream, const std::vector<Row>& rows) {
  Scratch scratch(stream);
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
  if (!stream.failed()) draw(stream, drawing, hidden, {normed, fed.size() * c_.text.hidden});
}

template <class T> T* Engine<T>::forward(Stream& stream, const std::vector<Row>& rows, Scratch& scratch) {
  const auto& t = c_.text;
  const size_t n = rounded_up(stream, rows.size()), h = t.hidden, ks = t.key_size(), qs = t.query_size(), d = t.head_dim;
  T* out = scratch.take<T>(n * h);
  if (n == 0) return out;
  Scratch inner(stream);
  T* x = inner.take<T>(n * h);
  T* cosine = inner.take<T>(n * d / 2);
  T* sine = inner.take<T>(n * d / 2);

  std::vector<int32_t> tokens(n), positions(3 * n), prefix(n, -1), prefix_length, own_length(n), slots, order(n);
  PageTable prefixes, own;
  for (size_t i = 0; i < rows.size(); i++) {
    const auto& [group, r] = rows[i];
    const auto& p = group->request.prompt;
    if (i == 0 || group != rows[i - 1].group) {
      prefixes.lines.push_back(&group->pages);
      prefix_length.push_back(static_cast<int32_t>(p.rows()));
    }
    prefix[i] = static_cast<int32_t>(prefix_length.size()) - 1;
    own.lines.push_back(&r->pages);
    own_length[i] = static_cast<int32_t>(r->cached) + 1;
    cache_.slots_of(r->pages, r->cached, 1, slots);
    tokens[i] = r->out.tokens[r->cached];
    positions[i] = positions[n + i] = positions[2 * n + i] = static_cast<int32_t>(p.rows() + r->cached) + p.rope_delta;
  }
  for (int32_t nobodys = 0; slots.size() < n; nobodys++) slots.push_back(nobodys);
  if (stream.accelerator) prefix_length.resize(n);
  std::iota(order.begin(), order.end(), 0);
  prefixes.fill(stream, prefix_length.size()), own.fill(stream, n);
  Lists lists;
  for (const auto* list : {&prefix, &prefix_length, &own_length, &slots, &order, &tokens, &prefixes.data, &own.data}) lists.add(*list);
  lists.send(stream, inner);
  const auto prefix_of = lists[0], prefix_lengths = lists[1], own_lengths = lists[2], slot_of = lists[3], in_order = lists[4], ids = lists[5];
  const auto table = [](View<const int32_t> list, size_t width) { return matrix(list.data, list.size / width, width); };
  const auto prefix_pages = table(lists[6], prefixes.width), own_pages = table(lists[7], own.width);
  text_.rope_table(stream, positions, cosine, sine);
  embed(stream, ids, w_.embedding, t.vocab, h, x);
  // rows [first, first + m) of the step
  const auto attend = [&](size_t l, size_t first, size_t m, const T* q, T* attended, T* workspace, bf16* arranged = nullptr) {
    const View<const int32_t> pages_of_rows = matrix(own_pages.data + first * own.width, m, own.width);
    DecodeAttention<T> op{cube<const T>(q, m, t.heads, d), cache_.keys(l), cache_.values(l), {prefix_of.data + first, m}, prefix_pages, prefix_lengths,
                          pages_of_rows, {own_lengths.data + first, m}, 1 / std::sqrt(static_cast<double>(d)), cube(attended, m, t.heads, d)};
    op.checked = stream.accelerator, op.workspace = workspace, op.arranged_output = arranged, op.in_bf16 = w_.layers[l].q.narrow != nullptr;
    run(stream, op);
  };
  const size_t left = stream.accelerator ? decode_workspace(n, t.heads, d, prefix_pages.dim[1] * o_.page, own_pages.dim[1] * o_.page) : 0;
  T* const workspace = left > 0 && left <= kKeptSplits / sizeof(T) ? inner.take<T>(left) : nullptr;
  std::optional<JoinedLayers> joined;
  if constexpr (std::is_same_v<T, float>)
    if (can_join(stream, t, w_, n)) joined.emplace(t, n, inner);
  typename TextModel<T>::State s;  // of one layer after the other
  T *normed = nullptr, *rstd = nullptr, *q = nullptr, *k = nullptr;
  if (!joined) {
    text_.take_products(n, s, inner);
    if (t.moe.experts) s.moe.take_rowwise(t.moe, n, inner);
    normed = inner.take<T>(n * h), rstd = inner.take<T>(n * t.heads), q = inner.take<T>(n * qs), k = inner.take<T>(n * ks);
  }
  const T* const end = inner.take<T>(1);
  const auto layers = [&](size_t first, size_t m) {
    const size_t mlp = t.moe.experts ? 0 : t.mlp;
    T *at = x + first * h, *norm = normed + first * h, *root = rstd + first * t.heads, *cos = cosine + first * d / 2, *sin = sine + first * d / 2;
    T *q_product = s.q + first * qs, *k_product = s.k + first * ks, *value = s.v + first * ks, *query = q + first * qs, *key = k + first * ks;
    T *attended = s.attended.wide + first * qs, *middle = s.middle + first * h, *gate = s.gate.wide + first * mlp, *up = s.up.wide + first * mlp;
    for (size_t l = 0; l < t.layers; l++) {
      const auto& w = w_.layers[l];
      rms_norm(stream, m, h, at, w.input_norm, t.epsilon, norm, root);
      linear(stream, m, h, qs, norm, w.q, q_product);
      linear(stream, m, h, ks, norm, w.k, k_product);
      linear(stream, m, h, ks, norm, w.v, value);
      text_.norm_heads(stream, m, t.heads, cos, sin, q_product, w.q_norm, query, root);
      text_.norm_heads(stream, m, t.kv_heads, cos, sin, k_product, w.k_norm, key, root);
      cache_.write(stream, l, {slot_of.data + first, m}, {in_order.data, m}, m, key, value);
      attend(l, first, m, query, attended, workspace);
      linear<T>(stream, m, qs, h, attended, w.o, middle, nullptr, at);
      rms_norm(stream, m, h, middle, w.post_norm, t.epsilon, norm, root);
      if (t.moe.experts) {
        moe_forward<T>(stream, t, w.moe, m, norm, s.moe, true);
        moe_output<T>(stream, t, w.moe, m, s.moe, middle, at);
        continue;
      }
      linear(stream, m, h, mlp, norm, w.gate, gate);
      linear(stream, m, h, mlp, norm, w.up, up);
      run(stream, SwiGlu<T>{matrix<const T>(gate, m, mlp), matrix<const T>(up, m, mlp), matrix(gate, m, mlp)});
      linear<T>(stream, m, mlp, h, gate, w.down, at, nullptr, middle);
    }
    rms_norm(stream, m, h, at, w_.final_norm, t.epsilon, out + first * h, root);
  };
  // all that a launch is told: sizes, and where things lie. Of the scratch arrays the first and the last say where all do: one behind the other
  const auto told = [&] {
    std::vector<size_t> key{n, prefix_pages.dim[0], prefix_pages.dim[1], own_pages.dim[1], reinterpret_cast<size_t>(out), reinterpret_cast<size_t>(end),
                            t.heads, t.kv_heads, d, __builtin_bit_cast(size_t, t.epsilon), t.moe.experts, t.moe.active, t.moe.normalise};
    w_.add_places(key);
    cache_.add_places(key);
    return key;
  };
  if constexpr (std::is_same_v<T, float>)
    if (joined) {
      repeat(stream, told, [&] {
        const auto each = [&](size_t l, const T* query, bf16* attended) { attend(l, 0, n, query, nullptr, workspace, attended); };
        joined->run(stream, w_, cache_, slot_of.data, cosine, sine, x, out, each);
      });
      return out;
    }
  const size_t together = t.moe.experts ? n : rows_for_themselves<T>(stream, n, t);
  repeat(stream, told, [&] { in_row_blocks(stream, n, together, layers); });
  return out;
}

#define G2_INSTANTIATE(T)                                                     \
  template void Engine<T>::decode(Stream&, const std::vector<Row>&);          \
  template T* Engine<T>::forward(Stream&, const std::vector<Row>&, Scratch&);
G2_INSTANTIATE(float)
G2_INSTANTIATE(double)

}  // namespace g2rpo::qwen3vl
