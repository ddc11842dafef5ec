// An update of the optimizer as the engine makes it itself: in the backward pass, or with moments that are in the host's memory.
#pragma once
#include <string>
#include <vector>

#include "gradients.h"

namespace g2rpo::qwen3vl {

/** What an optimizer keeps of one trained tensor, or of a piece of it: moments as reals, or codes with their scales. */
template <class T> struct Moments {
  std::string name;
  /** among the tensors of its type that are moved: its random words depend on it */
  int32_t place = 0;
  /** all of it is in the host's memory, beside an accelerator */
  bool on_host = false;
  /** in f32, moved in place of a weight in bf16, which becomes the nearest; null where there is none */
  T* master = nullptr;
  T *first = nullptr, *second = nullptr;
  uint8_t *first_codes = nullptr, *second_codes = nullptr;
  float *first_scales = nullptr, *second_scales = nullptr;
};

/** Scalars of adamw and adamw8bit. */
struct AdamWScalars {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int32_t step;
  double gradient_scale;
  /** elements whose moments come from the host's memory at a time, a multiple of kScaledElements */
  size_t piece;
};
/** Elements that share a scale. */
constexpr size_t kScaledElements = 256;
constexpr size_t scales_of(size_t elements) { return (elements + kScaledElements - 1) / kScaledElements; }

/** One AdamW update of everything that is trained. */
template <class T> class AdamWUpdate {
 public:
  /** @param moments  of every trained tensor, by number */
  AdamWUpdate(std::vector<Moments<T>> moments, const AdamWScalars& scalars) : moments_(std::move(moments)), scalars_(scalars) {}

  /** Moves these parameters by their gradients. */
  void move(Stream& stream, const std::vector<Trained<T>>& tensors);
  const Moments<T>& moments(size_t number) const { return moments_[number]; }
  size_t size() const { return moments_.size(); }
  /** Parameters have moved, all or some: what fails from then on leaves a policy that is neither the one before the update nor the one after. */
  bool begun() const { return begun_; }

 private:
  /** Elements [begin, begin + tensor.size) of one, of which `tensor` and `m` are. */
  void move_piece(Stream& stream, const Trained<T>& tensor, const Moments<T>& m, size_t begin) const;
  template <class W> void launch(Stream& stream, const Trained<T>& tensor, W* values, const Moments<T>& m, size_t begin) const;
  /** Brings moments to the device piece by piece, and back, while others are computed. */
  void move_from_host(Stream& stream, const std::vector<Trained<T>>& tensors) const;

  std::vector<Moments<T>> moments_;
  AdamWScalars scalars_;
  bool begun_ = false;
};

/** Such an update, made while gradients become finished. Used for one backward pass. */
template <class T> class BackwardUpdate : public GradientSink<T> {
 public:
  explicit BackwardUpdate(AdamWUpdate<T>& update) : update_(update), squares_(update.size(), 0.0) {}

  /** Moves the parameters. @throws NON_FINITE  a gradient is not finite: none of these parameters has moved; and what failed in the pass before */
  void take(Stream& stream, const std::vector<Trained<T>>& finished) override;
  /** Of all gradients, each tensor's sum added in the order of numbers. */
  double squared_norm() const;

 private:
  AdamWUpdate<T>& update_;
  std::vector<double> squares_;
};

}  // namespace g2rpo::qwen3vl
