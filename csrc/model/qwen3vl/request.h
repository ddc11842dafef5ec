// What the engine is asked: a prompt with its pictures, and how it is to be answered.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "../../core/thread_pool.h"
#include "policy.h"
#include "stops.h"

namespace g2rpo::qwen3vl {

/** How the next token is chosen: rows that have it in common are sampled together. */
struct Choice {
  double temperature, top_p, repetition_penalty;
  int32_t top_k;
  std::vector<int32_t> banned_ids;
  /** Whether all logits of a row have to be there before one of its ids can be chosen. */
  bool filters() const { return repetition_penalty != 1 || (temperature != 0 && (top_k != 0 || top_p < 1)); }
  bool operator==(const Choice&) const = default;
};

struct SamplingOptions {
  int32_t rollouts, max_tokens;
  Choice choice;
  int32_t seed, step, rollout_offset;
  Stops stops;
};

template <class T> struct Generation {
  std::vector<int32_t> tokens;
  std::vector<T> log_probs, entropy;
  Stop stop;
};

/** A picture or video; prompts that show the same one share it. */
template <class T> struct Picture {
  Shown<T> shown;                     // held by …
  std::shared_ptr<const void> owner;
  int32_t grid[3];                    // (t, h, w) in patches
  size_t patches() const { return patches_of(grid); }
};

template <class T> struct Prompt {
  std::vector<int32_t> ids;            // −1 where a visual feature stands
  std::vector<int32_t> positions;      // [3, rows]
  std::vector<int32_t> visual_rows;    // rows, rising …
  std::vector<int32_t> visual_source;  // … and the feature that stands there: its row among those of all pictures
  std::vector<std::shared_ptr<const Picture<T>>> pictures;
  int32_t rope_delta = 0;
  size_t rows() const { return ids.size(); }
};

template <class T> struct Request {
  Prompt<T> prompt;
  SamplingOptions sampling;
  /** Called once for every rollout, the one or the other. */
  std::function<void(size_t rollout, Generation<T>&&)> ended;
  std::function<void(size_t rollout, const Failure&)> failed;
};

/**
 * The segments of a batch that has been checked, as prompts that keep its owner as long as they need its pixels.
 * @throws INVALID_ARGUMENT  a prompt without tokens, or ropeDelta for others
 */
template <class T>
std::vector<Prompt<T>> prompts_of(const Batch<T>& batch, std::shared_ptr<const void> owner, const std::vector<int32_t>& rope_delta,
                                  const VisionConfig& vision);

}  // namespace g2rpo::qwen3vl
