// Where gradients are while a backward pass makes them. They are kept in tensors of their own, or lent part by part to whoever uses them at once.
#pragma once
#include <vector>

#include "../../core/accelerator.h"
#include "../../core/arena.h"
#include "weights.h"

namespace g2rpo::qwen3vl {

/** A tensor that is trained, with its gradient while there is one. */
template <class T> struct Trained {
  size_t number, size;
  T* weight;
  bf16* narrow;  // the weight instead, where it is kept in bf16
  T* gradient;
};

/** The gradient, for an op that adds to it; null where it is not wanted. */
template <class T> T* added_to(Stream& stream, const Parameter<T>& p) {
  if (p.fresh) clear(stream, p.gradient, p.size);
  p.fresh = false;
  return p.gradient;
}

template <class T> void clear_gradients(Stream& stream, const Adapter<T>& lora) {
  clear(stream, lora.dA, lora.rank * lora.columns);
  clear(stream, lora.dB, lora.rows * lora.rank);
}

/** Takes gradients as soon as they are finished: after that their memory, and the weights that they are of, are needed by nothing of the pass. */
template <class T> class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual void take(Stream& stream, const std::vector<Trained<T>>& finished) = 0;
};

/** The gradients of some parts of the policy, in scratch that is given back with the scope; nothing of it where gradients are kept. */
template <class T> class LentGradients {
 public:
  template <class... Parts> LentGradients(Stream& stream, GradientSink<T>* sink, Parts&... parts) : stream_(stream), sink_(sink), scratch_(stream) {
    if (sink_) (each_parameter(parts, [&](Parameter<T>& p) { lend(p); }), ...);
  }
  ~LentGradients() {
    for (T** place : places_) *place = nullptr;
    for (const auto* p : parameters_) p->fresh = false;
  }
  LentGradients(const LentGradients&) = delete;
  LentGradients& operator=(const LentGradients&) = delete;
  /** Nothing will be added any more. */
  void finish() const {
    for (const auto* p : parameters_) added_to(stream_, *p);
    if (!lent_.empty()) sink_->take(stream_, lent_);
  }

 private:
  void lend(Parameter<T>& p) {
    if (p.number != kFrozen) {
      lend({p.number, p.size, p.weight, p.narrow, nullptr}, p.gradient);
      p.fresh = true;
      parameters_.push_back(&p);
    }
    auto& lora = p.adapter;
    if (!lora.rank) return;
    lend({lora.number, lora.rank * lora.columns, lora.a, nullptr, nullptr}, lora.dA);
    lend({lora.number + 1, lora.rows * lora.rank, lora.b, nullptr, nullptr}, lora.dB);
    clear_gradients(stream_, lora);
  }
  void lend(Trained<T> trained, T*& place) {
    trained.gradient = scratch_.template take<T>(trained.size);
    place = trained.gradient;
    places_.push_back(&place);
    lent_.push_back(trained);
  }

  Stream& stream_;
  GradientSink<T>* sink_;
  Scratch scratch_;
  std::vector<Trained<T>> lent_;
  std::vector<T**> places_;
  std::vector<const Parameter<T>*> parameters_;
};

}  // namespace g2rpo::qwen3vl
