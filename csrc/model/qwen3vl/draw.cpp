// Draws of a step: tokens from final-normed hidden states. On the CPU logits are there slice by slice where the choice among them lets them.
#include <algorithm>
#include <cstring>

#include "../../ops/sample/arguments.h"
#include "engine.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

constexpr size_t kLogitRows = 256;  // rows that are drawn at a time

/** The states one after the other, rows of `block` or others: as they are if they lie so there, else in `gathered`. */
template <class T> const T* together(Stream& stream, const std::vector<const T*>& states, View<const T> block, size_t h, T* gathered) {
  // other arrays may touch each other too, and are none the less several to a device
  const auto in_block = [&](const T* state) { return state >= block.data && state < block.data + block.size; };
  for (size_t from = 0, to; from < states.size(); from = to) {
    for (to = from + 1; to < states.size() && in_block(states[to]) && states[to] == states[from] + (to - from) * h; to++) {}
    if (from == 0 && to == states.size()) return states[0];
    copy(stream, gathered + from * h, states[from], (to - from) * h);
  }
  return gathered;
}

}  // namespace

/** Draws a token from each hidden state, some rows at a time; many are rows of one block. Rows that stand together and have one state have its logits computed once. */
template <class T> void Engine<T>::draw(Stream& stream, const std::vector<Row>& rows, const std::vector<const T*>& hidden, View<const T> block) {
  const size_t h = c_.text.hidden, most = std::min(rows.size(), kLogitRows);
  const auto wants_whole = [&](const Row& row) { return stream.accelerator || row.group->request.sampling.choice.filters(); };
  Scratch scratch(stream);
  T* gathered = scratch.take<T>(most * h);
  for (const bool whole : {false, true})
    for (size_t at = 0; at < rows.size();) {
      std::vector<Row> part;
      std::vector<int32_t> source;
      std::vector<const T*> states;  // different ones
      for (; at < rows.size() && part.size() < most; at++) {
        if (rows[at].rollout->state != State::live || wants_whole(rows[at]) != whole) continue;  // its request has failed since, or it has another turn
        if (states.empty() || hidden[at] != states.back()) states.push_back(hidden[at]);
        part.push_back(rows[at]);
        source.push_back(static_cast<int32_t>(states.size()) - 1);
      }
      if (part.empty()) break;
      const View<const T> different = matrix(together(stream, states, block, h, gathered), states.size(), h);
      if (whole) choose_whole(stream, part, different, source);
      else choose_by_slices(stream, part, different, source);
    }
}

/** Draws tokens of rows whose logits are there all at once: those that choose alike together. */
template <class T>
void Engine<T>::choose_whole(Stream& stream, const std::vector<Row>& rows, View<const T> hidden, const std::vector<int32_t>& source) {
  const size_t vocab = c_.text.vocab;
  Scratch scratch(stream);
  T* logits = scratch.take<T>(rows.size() * vocab);
  all_logits(stream, hidden, logits);
  for (size_t i = rows.size(), from; i-- > 0 && (from = static_cast<size_t>(source[i])) < i;) copy(stream, logits + i * vocab, logits + from * vocab, vocab);
  for (size_t from = 0, to; from < rows.size(); from = to) {
    const auto& choice = rows[from].group->request.sampling.choice;
    for (to = from + 1; to < rows.size() && rows[to].group->request.sampling.choice == choice; to++) {}
    choose(stream, &rows[from], to - from, logits + from * vocab);
  }
}

/** Lays the head out for SampleHead: slice by slice. */
template <class T> void Engine<T>::pack_head(Stream& stream, T* packed) {
  with_values(w_.head, [&]<class W>(const W* values) {
    SampleHead<T, W> op{{}, matrix(values, c_.text.vocab, c_.text.hidden)};
    op.pack_to = packed;
    run(stream, op);
  });
  w_.head.packed = packed;
}

/** Logits of hidden states; by a head that is packed, as `pack_head` has packed it. */
template <class T> void Engine<T>::all_logits(Stream& stream, View<const T> hidden, T* logits) {
  const size_t h = c_.text.hidden, vocab = c_.text.vocab;
  if (!w_.head.packed) return linear(stream, hidden.dim[0], h, vocab, hidden.data, w_.head, logits);
  with_values(w_.head, [&]<class W>(const W* values) {
    SampleHead<T, W> op{hidden, matrix(values, vocab, h), w_.head.packed};
    op.logits = logits;
    run(stream, op);
  });
}

/** Ids that may be chosen, as kernels take them; empty if all may. */
template <class T> std::vector<uint8_t> Engine<T>::allowed_by(const Choice& choice) const {
  std::vector<uint8_t> allowed(choice.banned_ids.empty() ? 0 : c_.text.vocab, 1);
  for (int32_t id : choice.banned_ids)
    if (id >= 0 && static_cast<size_t>(id) < allowed.size()) allowed[static_cast<size_t>(id)] = 0;
  return allowed;
}

/** What the random numbers of rows' next tokens depend on. */
template <class T> std::vector<int32_t> Engine<T>::keys_of(const Row* rows, size_t count) {
  std::vector<int32_t> keys(count * 4);
  for (size_t i = 0; i < count; i++) {
    const auto& [group, r] = rows[i];
    const auto& s = group->request.sampling;
    keys[4 * i] = s.seed;
    keys[4 * i + 1] = s.step;
    keys[4 * i + 2] = static_cast<int32_t>(static_cast<uint32_t>(s.rollout_offset) + static_cast<uint32_t>(r - group->rollouts.data()));
    keys[4 * i + 3] = static_cast<int32_t>(r->out.tokens.size());
  }
  return keys;
}

/** Draws tokens of rows whose logits are there slice by slice. Where one cannot be had, its request fails. */
template <class T> void Engine<T>::choose_by_slices(Stream& stream, const std::vector<Row>& rows, View<const T> hidden, const std::vector<int32_t>& source) {
  const size_t count = rows.size();
  std::vector<std::vector<uint8_t>> bans;
  std::vector<const uint8_t*> allowed(count);
  std::vector<double> temperatures(count);
  for (size_t i = 0; i < count; i++) {
    const auto& choice = rows[i].group->request.sampling.choice;
    temperatures[i] = choice.temperature;
    const bool same = i > 0 && choice.banned_ids == rows[i - 1].group->request.sampling.choice.banned_ids;
    if (!same) bans.push_back(allowed_by(choice));
    allowed[i] = bans.back().empty() ? nullptr : bans.back().data();
  }
  const auto keys = keys_of(rows.data(), count);
  std::vector<int32_t> tokens(count);
  std::vector<T> log_probs(count), entropy(count);
  with_values(w_.head, [&]<class W>(const W* values) {
    SampleHead<T, W> op{hidden, matrix(values, c_.text.vocab, c_.text.hidden), w_.head.packed, source.data(), temperatures.data(), allowed.data(),
                        matrix(keys.data(), count, 4), vector(tokens.data(), count), log_probs.data(), entropy.data()};
    run(stream, op);
  });
  if (stream.failed()) return;
  for (size_t from = 0, to; from < count; from = to) {
    to = from;
    size_t without = count;
    for (; to < count && rows[to].group == rows[from].group; to++)
      if (tokens[to] < 0) without = std::min(without, to);
    if (without < count) {
      fail(*rows[from].group, Failure{"NON_FINITE", RowMessage(Sample<T>::kName, without - from, tokens[without]).text});
      continue;
    }
    for (size_t i = from; i < to; i++) accept(rows[i], tokens[i], log_probs[i], entropy[i]);
  }
}

/** Draws tokens of rows that choose alike. Where one cannot be had, its request fails and the others go on. */
template <class T> void Engine<T>::choose(Stream& stream, const Row* rows, size_t count, const T* logits) {
  const size_t vocab = c_.text.vocab;
  const auto& choice = rows[0].group->request.sampling.choice;
  Scratch scratch(stream);
  const auto allowed = allowed_by(choice);
  const auto keys = keys_of(rows, count);
  // they come to the host as one: log-probabilities, entropies, tokens
  T* const drawn_log_probs = scratch.take<T>(3 * count);
  T* const drawn_entropy = drawn_log_probs + count;
  auto* const drawn = reinterpret_cast<int32_t*>(drawn_entropy + count);
  Sample<T> sample{matrix(logits, count, vocab), {}, {}, matrix(on_device(stream, keys, scratch).data, count, 4), choice.temperature, choice.top_k,
                   choice.top_p, choice.repetition_penalty, vector(drawn, count), vector(drawn_log_probs, count), vector(drawn_entropy, count)};
  if (!allowed.empty()) sample.allowed = on_device(stream, allowed, scratch);
  Array<uint8_t> seen;
  if (choice.repetition_penalty != 1) {
    seen = Array<uint8_t>(count * vocab);
    std::memset(seen.data(), 0, seen.size());
    for (size_t i = 0; i < count; i++)
      for (const auto* ids : {&rows[i].group->request.prompt.ids, &rows[i].rollout->out.tokens})
        for (int32_t id : *ids)
          if (id >= 0) seen.data()[i * vocab + static_cast<size_t>(id)] = 1;  // a visual feature has no id
    sample.seen = matrix<const uint8_t>(on_device(stream, seen.data(), seen.size(), scratch), count, vocab);
  }
  run(stream, sample);
  finish(stream);
  if (stream.failed()) {
    const Failure failure = stream.pool->take_failure();
    for (size_t from = 0, to; from < count; from = to) {
      for (to = from + 1; to < count && rows[to].group == rows[from].group; to++) {}
      if (from == 0 && to == count) fail(*rows[0].group, failure);
      else choose(stream, rows + from, to - from, logits + from * vocab);
    }
    return;
  }
  const auto reals = on_host(stream, drawn_log_probs, 3 * count);
  std::vector<int32_t> tokens(count);
  std::memcpy(tokens.data(), reals.data() + 2 * count, count * sizeof(int32_t));
  for (size_t i = 0; i < count; i++) accept(rows[i], tokens[i], reals[i], reals[count + i]);
}

/** A rollout has one token more, and may end with it. */
template <class T> void Engine<T>::accept(const Row& row, int32_t token, T log_prob, T entropy) {
  auto& [group, r] = row;
  const auto& s = group->request.sampling;
  auto& out = r->out;
  out.tokens.push_back(token);
  out.log_probs.push_back(log_prob);
  out.entropy.push_back(entropy);
  out.stop = stop_at(s.stops, vocabulary_, out.tokens, r->matched);
  if (out.stop || out.tokens.size() == static_cast<size_t>(s.max_tokens)) end(*group, *r);
}

#define G2_INSTANTIATE(T)                                                                                                        \
  template void Engine<T>::draw(Stream&, const std::vector<Row>&, const std::vector<const T*>&, View<const T>);                  \
  template void Engine<T>::pack_head(Stream&, T*);
G2_INSTANTIATE(float)
G2_INSTANTIATE(double)

}  // namespace g2rpo::qwen3vl
