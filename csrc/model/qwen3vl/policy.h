// The policy: vision tower, splice, language model and head, forward and backward, over one packed batch.
#pragma once
#include <vector>

#include "../../ops/policy_loss/op.h"
#include "text.h"
#include "vision.h"

namespace g2rpo::qwen3vl {

/** Everything of a packed batch that the policy sees. */
template <class T> struct Batch {
  TextInput text;
  VisionInput<T> vision;
  std::vector<int32_t> target_rows;  // [N]: the row whose hidden state predicts …
  std::vector<int32_t> target_ids;   // … this token
};

/** A loss that is separable by token, with what it must know of the whole mini-batch already in its weights. */
template <class T> struct TokenLoss {
  PolicyLossKind kind;
  double clip_low, clip_high, clip_dual, tau_positive, tau_negative;
  std::vector<T> old_log_probs;  // [N]; empty where they are those of the policy itself
  std::vector<T> advantages, weights, log_prob_slopes, entropy_slopes;  // [N]
  KlKind kl;
  std::vector<T> ref_log_probs, kl_weights;  // [N]; not looked at where kl is none
};

template <class T> struct Scores {
  std::vector<T> log_probs, entropy;  // [N]
  std::vector<T> loss;                // [N], from forward_backward
  std::vector<int32_t> clipped;       // [N], from forward_backward
};

template <class T> class Policy {
 public:
  Policy(Config config, const ParameterMap<T>& parameters)
      : c_(std::move(config)), w_(c_, parameters), vision_(c_, w_), text_(c_, w_) {}

  Scores<T> forward(Stream& stream, const Batch<T>& batch, double temperature);
  /**
   * Adds the gradient of the loss to the parameters' gradients, or replaces them by it; `keep` trades memory for time and changes no bit. With a sink gradients are not kept but
   * handed to it, each part when its backward pass is finished; what it does to the weights changes nothing of this pass.
   */
  Scores<T> forward_backward(Stream& stream, const Batch<T>& batch, const TokenLoss<T>& loss, double temperature, Keep keep,
                             bool accumulate, GradientSink<T>* sink = nullptr);
  /** Logits [rows, vocab] of some rows, before any temperature. For tests and inspection. */
  std::vector<T> logits(Stream& stream, const Batch<T>& batch, const std::vector<int32_t>& rows);
  /** Tower output: merged, then deepstack levels, each [tokens, hidden]. */
  std::vector<std::vector<T>> features(Stream& stream, const VisionInput<T>& input);
  /** @throws INVALID_ARGUMENT  the batch contradicts itself */
  void check(const Batch<T>& batch) const;

  const Config& config() const { return c_; }
  const Weights<T>& weights() const { return w_; }

 private:
  /** Those of the pictures, if there are any. */
  VisualFeatures<T> visual_features(Stream& stream, const Batch<T>& batch, Keep keep, Scratch& scratch);
  /** Hidden rows before the final norm, of a pass that keeps nothing. */
  T* hidden_rows(Stream& stream, const Batch<T>& batch, Scratch& scratch);
  /** Final-normed hidden states of the target rows. */
  struct Gathered {
    T *rows, *normed, *rstd;
  };
  Gathered gather(Stream& stream, const T* hidden, size_t rows, const std::vector<int32_t>& targets, Scratch& scratch);
  /** What the head says of every target, on the stream's device. */
  struct Results {
    T *log_probs, *entropy, *loss;
    int32_t* clipped;
  };
  /** Loss and gradients of the head and of the final norm; dX becomes that of the hidden rows, unless it is null. */
  void head_backward(Stream& stream, const Batch<T>& batch, const TokenLoss<T>& loss, double temperature, const T* hidden, T* dX, const Results& results,
                     GradientSink<T>* sink);

  Config c_;
  Weights<T> w_;
  VisionTower<T> vision_;
  TextModel<T> text_;
};

}  // namespace g2rpo::qwen3vl
