// An update of the optimizer that the backward pass makes itself: a parameter moves as soon as its gradient is finished.
#pragma once
#include <string>
#include <vector>

#include "gradients.h"

namespace g2rpo::qwen3vl {

/** What an optimizer keeps of one trained tensor: moments as reals, or codes with their scales. */
template <class T> struct Moments {
  std::string name;
  /** among the tensors of its type that are moved: its random words depend on it */
  int32_t place = 0;
  /** in f32, moved in place of a weight in bf16, which becomes the nearest; null where there is none */
  T* master = nullptr;
  T *first = nullptr, *second = nullptr;
  uint8_t *first_codes = nullptr, *second_codes = nullptr;
  float *first_scales = nullptr, *second_scales = nullptr;
  size_t scales = 0;
};

/** Scalars of adamw and adamw8bit. */
struct AdamWScalars {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int32_t step;
};

/** One AdamW update of everything that is trained. Used for one backward pass. */
template <class T> class BackwardUpdate : public GradientSink<T> {
 public:
  /** @param moments  of every trained tensor, by number */
  BackwardUpdate(std::vector<Moments<T>> moments, const AdamWScalars& scalars)
      : moments_(std::move(moments)), scalars_(scalars), squares_(moments_.size(), 0.0) {}

  /** Moves the parameters. @throws NON_FINITE  a gradient is not finite: none of these parameters has moved; and what failed in the pass before */
  void take(Stream& stream, const std::vector<Trained<T>>& finished) override;
  /** Parameters have moved, all or some: what fails from then on leaves a policy that is neither the one before the update nor the one after. */
  bool begun() const { return begun_; }
  /** Of all gradients, each tensor's sum added in the order of numbers. */
  double squared_norm() const;

 private:
  template <class W> void move(Stream& stream, const Trained<T>& tensor, W* values, const Moments<T>& m) const;

  std::vector<Moments<T>> moments_;
  AdamWScalars scalars_;
  std::vector<double> squares_;
  bool begun_ = false;
};

}  // namespace g2rpo::qwen3vl
