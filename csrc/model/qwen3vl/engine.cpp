#include "engine.h"

#include <algorithm>
#include <string>

#include "../../core/status.h"
#include "../../ops/attention/op.h"
#include "../../ops/sample/arguments.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

constexpr size_t kFewRows = 4;               // few rows read weights as they are
constexpr size_t kReserved = size_t{1} << 29;  // bytes of the cache that are asked for at once; what is not written takes no memory

[[noreturn]] void refuse(const std::string& message) { throw Error("INVALID_ARGUMENT", "generate: " + message); }

}  // namespace

template <class T>
Engine<T>::Engine(const Config& config, const Weights<T>& weights, Vocabulary vocabulary, EngineOptions options)
    : c_(config), vocabulary_(std::move(vocabulary)), o_(options), w_(weights), vision_(c_, w_), text_(c_, w_), cache_(c_.text, o_.page, o_.pages) {}

template <class T> size_t Engine<T>::Group::count(State state) const {
  size_t n = 0;
  for (const auto& r : rollouts) n += r.state == state;
  return n;
}

template <class T> void Engine<T>::check(size_t prompt_rows, const SamplingOptions& s) const {
  const auto& c = s.choice;
  if (const char* problem = sampling_problem(c.temperature, c.top_k, c.top_p, c.repetition_penalty)) refuse(problem);
  for (const auto& sequence : s.stops.sequences)
    if (sequence.empty()) refuse("a stop sequence must have a token");
  for (const auto& string : s.stops.strings)
    if (string.size() == 0) refuse("a stop string must have a character");
  // keys of the last token are not needed; a rollout that begins is given a page
  const size_t own = std::max<size_t>(1, cache_.pages_of(static_cast<size_t>(s.max_tokens) - 1));
  const size_t wanted = cache_.pages_of(prompt_rows) + own;
  if (wanted > cache_.limit())
    refuse("a prompt of " + std::to_string(prompt_rows) + " tokens and a response of " + std::to_string(s.max_tokens) + " take " +
           std::to_string(wanted) + " pages of " + std::to_string(o_.page) + " tokens; the cache holds at most " + std::to_string(cache_.limit()) + " (rollout.cacheMb, cacheMb of an engine)");
}

template <class T> void Engine<T>::submit(uint64_t id, Request<T> request) {
  const auto n = static_cast<size_t>(request.sampling.rollouts);
  groups_.push_back(std::make_unique<Group>(Group{id, std::move(request), std::vector<Rollout>(n), n}));
}

template <class T> void Engine<T>::abort(uint64_t id, const Failure& failure) {
  for (auto& g : groups_)
    if (g->id == id) fail(*g, failure);
  sweep();
}

template <class T> void Engine<T>::abort_all(const Failure& failure) {
  for (auto& g : groups_) fail(*g, failure);
  sweep();
}

template <class T> void Engine<T>::step(Stream& stream) {
  if (idle()) return;
  pack_weights(stream);
  if (const auto chunks = admit(stream); !chunks.empty()) prefill(stream, chunks);
  else decode(stream, secure(stream));
  sweep();
}

/** Takes what has come to its end out of the queue. */
template <class T> void Engine<T>::sweep() {
  std::erase_if(groups_, [](const auto& g) { return g->open == 0; });
  if (!groups_.empty()) return;
  cache_.clear();
  packed_.give_back();
  for (const auto& matrix : matrices()) matrix.weight->packed = nullptr;
}

/** Weights that every step multiplies by, with their inputs and outputs. */
template <class T> std::vector<typename Engine<T>::Matrix> Engine<T>::matrices() {
  const auto& t = c_.text;
  const size_t h = t.hidden, qs = t.query_size(), ks = t.key_size();
  std::vector<Matrix> all;
  for (auto& w : w_.layers) {
    all.insert(all.end(), {{&w.q, h, qs}, {&w.k, h, ks}, {&w.v, h, ks}, {&w.o, qs, h}});
    if (t.moe.experts) continue;  // which of them a step needs is not known before
    all.insert(all.end(), {{&w.gate, h, t.mlp}, {&w.up, h, t.mlp}, {&w.down, t.mlp, h}});
  }
  all.push_back({&w_.head, h, t.vocab});
  return all;
}

/** Packs them once for as long as there is something to do. */
template <class T> void Engine<T>::pack_weights(Stream& stream) {
  size_t open = 0, size = 0;
  for (const auto& g : groups_) open += g->open;
  if (stream.accelerator || packed_.taken() || std::min(open, o_.rollouts) <= kFewRows) return;
  auto all = matrices();
  const auto size_of = [](const Matrix& m) { return (packed_size(m.in, m.out, *m.weight) + 15) / 16 * 16; };  // each on a new line of the cache
  std::erase_if(all, [&](const Matrix& m) { return size_of(m) == 0; });
  if (all.empty()) return;
  for (const auto& matrix : all) size += size_of(matrix);
  T* at = packed_.template take<T>(size);
  for (const auto& matrix : all) {
    if (matrix.weight == &w_.head) pack_head(stream, at);
    else pack(stream, matrix.in, matrix.out, *matrix.weight, at);
    at += size_of(matrix);
  }
}

/**
 * Lets rollouts begin whose prompts are there, and says which prompts are to be computed for others: in the order of arrival, and
 * nobody before a rollout that waits for room. A part of a prompt ends where a tile of attention does, so that its bits are those of
 * the whole.
 */
template <class T> std::vector<typename Engine<T>::Chunk> Engine<T>::admit(Stream& stream) {
  std::vector<Chunk> chunks;
  size_t rows = 0, soon = 0;  // rollouts that begin when the chunks have been computed
  const auto room = [&](Group& group, size_t pages) {
    if (room_for(pages)) return true;
    if (live_ > 0 || !chunks.empty()) return false;
    for (auto& other : groups_)
      if (other.get() != &group) evict(*other);
    return true;  // every request fits by itself
  };
  for (auto& g : groups_) {
    const size_t length = g->request.prompt.rows();
    if (g->count(State::waiting) == 0) continue;
    if (live_ + soon >= o_.rollouts) break;
    if (g->cached == length) {
      for (auto& r : g->rollouts) {
        if (r.state != State::waiting) continue;
        // one that was put off comes back when it can get at least as far as it was
        const size_t pages = std::max<size_t>(1, cache_.pages_of(r.out.tokens.size()));
        if (live_ == o_.rollouts || !room(*g, pages)) return chunks;
        r.state = State::live;
        live_++;
      }
      continue;
    }
    const size_t left = length - g->cached, budget = o_.prompt_rows - rows;
    const size_t take = left <= budget ? left : budget - budget % kAttentionTile;
    if (take == 0 || !room(*g, cache_.pages_of(g->cached + take) - g->pages.size() + 1)) break;
    cache_.expect(stream, first_pages());
    cache_.take(stream, g->pages, g->cached + take);
    chunks.push_back({g.get(), g->cached, g->cached + take});
    rows += take;
    if (take < left) break;
    soon += g->count(State::waiting);
  }
  return chunks;
}

/** Pages that all under way may come to take: address space for them is taken at once, up to a bound, so that little is copied later. */
template <class T> size_t Engine<T>::first_pages() const {
  const size_t bound = kReserved / (2 * c_.text.layers * c_.text.key_size() * o_.page * sizeof(T));
  size_t pages = 64;
  for (const auto& g : groups_)
    pages += cache_.pages_of(g->request.prompt.rows()) + g->open * cache_.pages_of(static_cast<size_t>(g->request.sampling.max_tokens));
  return std::min(pages, std::max<size_t>(64, bound));
}

template <class T> std::vector<typename Engine<T>::Row> Engine<T>::secure(Stream& stream) {
  std::vector<Row> rows;
  for (auto& g : groups_)
    for (auto& r : g->rollouts)
      if (r.state == State::live) rows.push_back({g.get(), &r});
  for (const auto& row : rows) {
    auto& r = *row.rollout;
    if (r.state != State::live || r.draws() || r.cached < r.pages.size() * o_.page) continue;
    make_room(row);
    if (r.state == State::live) cache_.take(stream, r.pages, r.cached + 1);
  }
  std::erase_if(rows, [](const Row& row) { return row.rollout->state != State::live; });
  return rows;
}

/** A free page for a rollout: the youngest give theirs, at last this one itself. */
template <class T> void Engine<T>::make_room(const Row& row) {
  for (auto g = groups_.rbegin(); cache_.available() == 0 && g != groups_.rend(); ++g) {
    auto& rollouts = (*g)->rollouts;
    for (auto r = rollouts.rbegin(); cache_.available() == 0 && r != rollouts.rend(); ++r)
      if (r->state == State::live) {
        preempt(*r);
        if (&*r == row.rollout) return;
      }
    if (cache_.available() == 0) evict(**g);
  }
}

/** The prompt's pages go; it is computed anew before a rollout begins. Only where none of its rollouts is live. */
template <class T> void Engine<T>::evict(Group& g) {
  cache_.give_back(g.pages);
  g.cached = 0;
  g.last = {};
  g.features.clear();
}

/** A rollout waits again. It keeps its tokens, whose keys are computed once more, by the same steps, when it goes on. */
template <class T> void Engine<T>::preempt(Rollout& r) {
  cache_.give_back(r.pages);
  r.cached = 0;
  r.state = State::waiting;
  live_--;
}

template <class T> void Engine<T>::end(Group& g, Rollout& r) {
  preempt(r);
  r.state = State::ended;
  if (--g.open == 0) evict(g);
  g.request.ended(static_cast<size_t>(&r - g.rollouts.data()), std::move(r.out));
}

template <class T> void Engine<T>::fail(Group& g, const Failure& failure) {
  for (auto& r : g.rollouts) {
    if (r.state == State::ended) continue;
    if (r.state == State::live) preempt(r);
    r.state = State::ended;
    g.request.failed(static_cast<size_t>(&r - g.rollouts.data()), failure);
  }
  g.open = 0;
  evict(g);
}

template class Engine<float>;
template class Engine<double>;

}  // namespace g2rpo::qwen3vl
