// Continuous batching: the rollouts of many prompts are decoded together, over one cache in pages. Prompts wait in a queue
// until there is room, are computed once, and are held as long as a rollout needs them.
#pragma once
#include <deque>
#include <memory>

#include "kv_cache.h"
#include "request.h"

namespace g2rpo::qwen3vl {

/** What bounds the engine's memory; none of it changes a result. */
struct EngineOptions {
  size_t page;         // tokens of a page of the cache
  size_t pages;        // of the cache, at most
  size_t rollouts;     // decoded at a time, at most
  size_t prompt_rows;  // of a forward pass, at most; a multiple of kAttentionTile
};

/**
 * All of it is used by the device's thread alone. What a rollout draws depends on its prompt, its options and its number, not on
 * what is computed beside it: of every op in here a row's bits are its own.
 */
template <class T> class Engine {
 public:
  Engine(const Config& config, const Weights<T>& weights, Vocabulary vocabulary, EngineOptions options);

  /** Throws unless the request fits, by itself, into the limits. Of any thread. @throws INVALID_ARGUMENT */
  void check(size_t prompt_rows, const SamplingOptions& sampling) const;
  void submit(uint64_t id, Request<T> request);
  /** What has not ended of a request fails; nothing happens if there is none of this number. */
  void abort(uint64_t id, const Failure& failure);
  void abort_all(const Failure& failure);
  bool idle() const { return groups_.empty(); }
  /** One forward pass, of prompts if one of them can begin, else of all live rollouts. Memory is given back when nothing is left. */
  void step(Stream& stream);

 private:
  enum class State { waiting, live, ended };
  struct Rollout {
    State state = State::waiting;
    Pages pages;
    size_t cached = 0;  // of its tokens: those whose keys are in its pages
    Generation<T> out;
    Matched matched{};  // of the stop strings, at the end of its text
    bool draws() const { return cached == out.tokens.size(); }
  };
  /** A request under way: its prompt, which its rollouts share, and they. */
  struct Group {
    uint64_t id;
    Request<T> request;
    std::vector<Rollout> rollouts;
    size_t open;  // rollouts that have not ended
    Pages pages{};
    size_t cached = 0;               // rows of the prompt whose keys are in the pages
    Array<T> last{};                 // final-normed hidden state of the prompt's last row, once it has been computed
    std::vector<Array<T>> features{};  // levels of the vision tower, while the prompt is computed in several parts
    size_t count(State state) const;
  };
  /** Rows [begin, end) of a prompt. */
  struct Chunk {
    Group* group;
    size_t begin, end;
    size_t rows() const { return end - begin; }
  };
  struct Row {
    Group* group;
    Rollout* rollout;
  };

  // engine.cpp: who comes when
  std::vector<Chunk> admit(Stream& stream);
  bool room_for(size_t pages) const { return cache_.available() >= pages + live_; }
  /** The live rollouts, in order, each with room for the key of its next token. */
  std::vector<Row> secure(Stream& stream);
  void make_room(const Row& row);
  void evict(Group& group);
  void preempt(Rollout& rollout);
  void end(Group& group, Rollout& rollout);
  void fail(Group& group, const Failure& failure);
  void sweep();
  struct Matrix {
    Parameter<T>* weight;
    size_t in, out;
  };
  std::vector<Matrix> matrices();
  void pack_weights(Stream& stream);
  size_t first_pages() const;

  // prefill.cpp: prompts
  void prefill(Stream& stream, const std::vector<Chunk>& chunks);
  VisualFeatures<T> features_of(Stream& stream, const std::vector<Chunk>& chunks, TextInput& input, Scratch& scratch);

  // decode.cpp: a step of every live rollout
  void decode(Stream& stream, const std::vector<Row>& rows);
  /** Final-normed hidden states [rows, hidden] of the last token of each. */
  T* forward(Stream& stream, const std::vector<Row>& rows, Scratch& scratch);

  // draw.cpp: its draws
  void draw(Stream& stream, const std::vector<Row>& rows, const std::vector<const T*>& hidden, View<const T> block);
  // `source` is the hidden state of each row
  void choose_by_slices(Stream& stream, const std::vector<Row>& rows, View<const T> hidden, const std::vector<int32_t>& source);
  void choose_whole(Stream& stream, const std::vector<Row>& rows, View<const T> hidden, const std::vector<int32_t>& source);
  void all_logits(Stream& stream, View<const T> hidden, T* logits);
  void pack_head(Stream& stream, T* packed);
  void choose(Stream& stream, const Row* rows, size_t count, const T* logits);
  void accept(const Row& row, int32_t token, T log_prob, T entropy);
  std::vector<uint8_t> allowed_by(const Choice& choice) const;
  static std::vector<int32_t> keys_of(const Row* rows, size_t count);

  const Config& c_;
  Vocabulary vocabulary_;
  EngineOptions o_;
  Weights<T> w_;  // of the policy; packed while there is enough to do
  KeptScratch packed_;
  VisionTower<T> vision_;
  TextModel<T> text_;
  KvCache<T> cache_;
  std::deque<std::unique_ptr<Group>> groups_;  // in the order of arrival
  size_t live_ = 0;
};

}  // namespace g2rpo::qwen3vl
