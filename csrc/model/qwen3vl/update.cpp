#include "update.h"

#include <cmath>
#include <type_traits>

#include "../../core/status.h"
#include "../../core/thread_pool.h"
#include "../../ops/adamw/op.h"
#include "../../ops/adamw8bit/op.h"
#include "../../ops/round_bf16/op.h"
#include "../../ops/squared_norm/op.h"

namespace g2rpo::qwen3vl {

namespace {

/** A list of one tensor, as long as it lives. */
template <class T> struct Only {
  RawView item;
  Only(T* data, size_t size) : item{const_cast<std::remove_const_t<T>*>(data), size} {}
  ViewList<T> list() const {
    ViewList<T> only;
    only.items = &item, only.size = 1;
    return only;
  }
};

/** Waits for what was launched, and throws how any of it failed. */
void settle(Stream& stream) {
  finish(stream);
  if (const Failure failure = stream.pool->take_failure(); failure.code) throw Error(failure.code, failure.message);
}

}  // namespace

template <class T> template <class W> void BackwardUpdate<T>::move(Stream& stream, const Trained<T>& tensor, W* values, const Moments<T>& m) const {
  const size_t n = tensor.size;
  const Only<const T> gradient(tensor.gradient, n);
  const Only<W> parameter(values, n);
  const auto& s = scalars_;
  if (m.first) {
    const Only<T> first(m.first, n), second(m.second, n);
    run(stream, AdamW<T, W>{gradient.list(), parameter.list(), first.list(), second.list(), s.learning_rate, s.beta1, s.beta2, s.epsilon,
                            s.weight_decay, s.step, 1, m.place});
  } else {
    const Only<uint8_t> first(m.first_codes, n), second(m.second_codes, n);
    const Only<float> first_scales(m.first_scales, m.scales), second_scales(m.second_scales, m.scales);
    run(stream, Adamw8bit<T, W>{gradient.list(), parameter.list(), first.list(), second.list(), first_scales.list(), second_scales.list(),
                                s.learning_rate, s.beta1, s.beta2, s.epsilon, s.weight_decay, s.step, 1, m.place});
  }
}

template <class T> void BackwardUpdate<T>::take(Stream& stream, const std::vector<Trained<T>>& finished) {
  {
    Scratch scratch(stream);
    auto* sums = scratch.take<double>(finished.size());
    for (size_t i = 0; i < finished.size(); i++) {
      const Only<const T> gradient(finished[i].gradient, finished[i].size);
      run(stream, SquaredNorm<T>{gradient.list(), {sums + i, 1}});
    }
    std::vector<double> found(finished.size());
    download(stream, found.data(), sums, found.size());
    settle(stream);
    for (size_t i = 0; i < finished.size(); i++) {
      const size_t number = finished[i].number;
      if (!std::isfinite(found[i])) throw Error("NON_FINITE", "the gradient of " + moments_[number].name + " is not finite");
      squares_[number] = found[i];
    }
  }
  begun_ = true;
  for (const auto& tensor : finished) {
    const auto& m = moments_[tensor.number];
    if (!tensor.narrow) {
      move(stream, tensor, tensor.weight, m);
    } else if constexpr (std::is_same_v<T, float>) {
      if (!m.master) {
        move(stream, tensor, tensor.narrow, m);
        continue;
      }
      move(stream, tensor, m.master, m);
      const Only<const float> values(m.master, tensor.size);
      const Only<bf16> rounded(tensor.narrow, tensor.size);
      run(stream, RoundBf16{values.list(), rounded.list()});
    }
  }
}

template <class T> double BackwardUpdate<T>::squared_norm() const {
  double total = 0;
  for (const double square : squares_) total += square;
  return total;
}

template class BackwardUpdate<float>;
template class BackwardUpdate<double>;

}  // namespace g2rpo::qwen3vl
