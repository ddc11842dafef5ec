#include "update.h"

#include <algorithm>
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

/** f(the array of one, that of the other, where it begins, its size) for what both keep, of `n` elements from `begin` on. */
template <class T, class F> void each_array(Moments<T>& a, const Moments<T>& b, size_t begin, size_t n, F&& f) {
  if (b.master) f(a.master, b.master, begin, n);
  if (b.first) f(a.first, b.first, begin, n), f(a.second, b.second, begin, n);
  if (b.first_codes) {
    f(a.first_codes, b.first_codes, begin, n), f(a.second_codes, b.second_codes, begin, n);
    f(a.first_scales, b.first_scales, begin / kScaledElements, scales_of(n)), f(a.second_scales, b.second_scales, begin / kScaledElements, scales_of(n));
  }
}

/** Waits for what was launched, and throws how any of it failed. */
void settle(Stream& stream) {
  finish(stream);
  if (const Failure failure = stream.pool->take_failure(); failure.code) throw Error(failure.code, failure.message);
}

/** The stream waits for all lanes when this ends, however it ends: what they copy lies in scratch of kernels. */
struct LanesEnd {
  Accelerator& accelerator;
  ~LanesEnd() {
    for (size_t k = 0; k < Accelerator::kLanes; k++) try {
        accelerator.lane(k).stream_waits();
      } catch (const Error&) {  // the device is lost
      }
  }
};

}  // namespace

template <class T>
template <class W>
void AdamWUpdate<T>::launch(Stream& stream, const Trained<T>& tensor, W* values, const Moments<T>& m, size_t begin) const {
  const size_t n = tensor.size;
  const Only<const T> gradient(tensor.gradient, n);
  const Only<W> parameter(values, n);
  const auto& s = scalars_;
  const auto from = static_cast<int32_t>(begin);
  if (m.first) {
    const Only<T> first(m.first, n), second(m.second, n);
    run(stream, AdamW<T, W>{gradient.list(), parameter.list(), first.list(), second.list(), s.learning_rate, s.beta1, s.beta2, s.epsilon,
                            s.weight_decay, s.step, s.gradient_scale, m.place, from});
  } else {
    const Only<uint8_t> first(m.first_codes, n), second(m.second_codes, n);
    const Only<float> first_scales(m.first_scales, scales_of(n)), second_scales(m.second_scales, scales_of(n));
    run(stream, Adamw8bit<T, W>{gradient.list(), parameter.list(), first.list(), second.list(), first_scales.list(), second_scales.list(),
                                s.learning_rate, s.beta1, s.beta2, s.epsilon, s.weight_decay, s.step, s.gradient_scale, m.place, from});
  }
}

template <class T> void AdamWUpdate<T>::move_piece(Stream& stream, const Trained<T>& tensor, const Moments<T>& m, size_t begin) const {
  if (!tensor.narrow) return launch(stream, tensor, tensor.weight, m, begin);
  if constexpr (std::is_same_v<T, float>) {
    if (!m.master) return launch(stream, tensor, tensor.narrow, m, begin);
    launch(stream, tensor, m.master, m, begin);
    const Only<const float> values(m.master, tensor.size);
    const Only<bf16> rounded(tensor.narrow, tensor.size);
    run(stream, RoundBf16{values.list(), rounded.list()});
  }
}

template <class T> void AdamWUpdate<T>::move_from_host(Stream& stream, const std::vector<Trained<T>>& tensors) const {
  auto& accelerator = *stream.accelerator;
  size_t piece = kScaledElements;
  for (const auto& tensor : tensors) piece = std::max(piece, std::min(scalars_.piece, scales_of(tensor.size) * kScaledElements));
  Scratch scratch(stream);
  Moments<T> rooms[Accelerator::kLanes];  // for all that any of the tensors keeps
  for (auto& room : rooms)
    for (const auto& tensor : tensors)
      each_array(room, moments_[tensor.number], 0, piece, [&]<class E>(E*& here, E*, size_t, size_t n) {
        if (!here) here = scratch.take<E>(n);
      });
  const LanesEnd end{accelerator};
  for (size_t k = 0; k < Accelerator::kLanes; k++) accelerator.lane(k).wait_for_stream();  // the rooms are scratch of what came before
  size_t turn = 0;
  for (const auto& tensor : tensors) {
    const auto& kept = moments_[tensor.number];
    for (size_t begin = 0; begin < tensor.size; begin += piece, turn = (turn + 1) % Accelerator::kLanes) {
      auto& lane = accelerator.lane(turn);
      auto& room = rooms[turn];
      const size_t n = std::min(piece, tensor.size - begin);
      each_array(room, kept, begin, n, [&]<class E>(E* at, E* values, size_t from, size_t count) { lane.to_device(at, values + from, count * sizeof(E)); });
      lane.stream_waits();
      Moments<T> here = room;
      here.place = kept.place;
      if (!kept.master) here.master = nullptr;  // the room may be of another tensor's
      const Trained<T> part{tensor.number, n, tensor.weight ? tensor.weight + begin : nullptr, tensor.narrow ? tensor.narrow + begin : nullptr, tensor.gradient + begin};
      move_piece(stream, part, here, begin);
      lane.wait_for_stream();
      each_array(room, kept, begin, n, [&]<class E>(E* at, E* values, size_t from, size_t count) { lane.to_host(values + from, at, count * sizeof(E)); });
    }
  }
}

template <class T> void AdamWUpdate<T>::move(Stream& stream, const std::vector<Trained<T>>& tensors) {
  begun_ = true;
  std::vector<Trained<T>> from_host;
  for (const auto& tensor : tensors) {
    const auto& m = moments_[tensor.number];
    if (m.on_host) from_host.push_back(tensor);
    else move_piece(stream, tensor, m, 0);
  }
  if (!from_host.empty()) move_from_host(stream, from_host);
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
      if (!std::isfinite(found[i])) throw Error("NON_FINITE", "the gradient of " + update_.moments(number).name + " is not finite");
      squares_[number] = found[i];
    }
  }
  update_.move(stream, finished);
}

template <class T> double BackwardUpdate<T>::squared_norm() const {
  double total = 0;
  for (const double square : squares_) total += square;
  return total;
}

template class AdamWUpdate<float>;
template class AdamWUpdate<double>;
template class BackwardUpdate<float>;
template class BackwardUpdate<double>;

}  // namespace g2rpo::qwen3vl
