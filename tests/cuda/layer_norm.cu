#include "../../csrc/ops/layer_norm/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void layer_norm(Harness& h) {
  const auto test = [&](size_t rows, size_t width, bool timing, size_t shift = 0, bool residual = true, bool sums = true) {
    auto x = randoms<T>(rows * width + shift, 1, 1, 3), weight = randoms<T>(width, 2), bias = randoms<T>(width, 3), dY = randoms<T>(rows * width, 4), added = randoms<T>(rows * width, 5);
    auto dWeight = randoms<T>(width, 6), dBias = randoms<T>(width, 7), y = zeros<T>(rows * width), mean = zeros<T>(rows), rstd = zeros<T>(rows), dX = zeros<T>(rows * width);
    const auto input = [&](Side s) { return View<T>(x.at(s) + shift, rows, width); };
    const std::function<LayerNorm<T>(Side)> forward = [&](Side s) {
      return LayerNorm<T>{input(s), weight.view(s), bias.view(s), 1e-6, y.view(s, rows, width), mean.view(s), rstd.view(s)};
    };
    const std::function<LayerNormBackward<T>(Side)> backward = [&](Side s) {
      return LayerNormBackward<T>{dY.view(s, rows, width), input(s), weight.view(s), mean.view(s), rstd.view(s), residual ? View<const T>(added.view(s)) : View<const T>{},
                                  sums ? dWeight.view(s) : View<T>{}, sums ? dBias.view(s) : View<T>{}, dX.view(s, rows, width)};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(width) + (shift ? ", unaligned" : "") + (residual ? "" : ", no residual") + (sums ? "" : ", dX alone");
    const double once = static_cast<double>(rows * width * sizeof(T));
    if (timing) {
      h.time<LayerNorm<T>>(typed<T>("layer_norm") + size, 2 * once, forward);
      h.time<LayerNormBackward<T>>(typed<T>("layer_norm_backward") + size, 4 * once, backward);
      return;
    }
    h.on_both<LayerNorm<T>>(forward);
    h.close(typed<T>("layer_norm") + size + ": y", y, kTolerance<T>);
    h.close(typed<T>("layer_norm") + size + ": mean", mean, kTolerance<T>);
    h.close(typed<T>("layer_norm") + size + ": rstd", rstd, kTolerance<T>);
    h.on_both<LayerNormBackward<T>>(backward);
    h.close(typed<T>("layer_norm_backward") + size + ": dX", dX, kTolerance<T>);
    h.close(typed<T>("layer_norm_backward") + size + ": dWeight", dWeight, 10 * kTolerance<T>);  // a sum over all rows
    h.close(typed<T>("layer_norm_backward") + size + ": dBias", dBias, 10 * kTolerance<T>);
    if constexpr (sizeof(T) == 4) {
      auto narrow_y = zeros<bf16>(rows * width), narrow_dX = zeros<bf16>(rows * width);
      auto y_in_bf16 = forward(Side::device);
      y_in_bf16.y = {}, y_in_bf16.narrow_y = narrow_y.at(Side::device);
      h.on_device(y_in_bf16);
      h.rounds(typed<T>("layer_norm") + size + ": y in bf16", y, narrow_y);
      auto both = backward(Side::device);
      both.narrow_dX = narrow_dX.at(Side::device);
      h.on_device(both);
      h.rounds(typed<T>("layer_norm_backward") + size + ": dX both ways", dX, narrow_dX);
    }
    if (rows > 100) h.repeats<LayerNormBackward<T>, T>(typed<T>("layer_norm_backward") + size, dWeight, backward);
  };
  test(0, 8, false), test(1, 1, false), test(5, 33, false), test(300, 64, false), test(40, 1024, false), test(40, 1152, false), test(40, 1152, false, 1, false), test(20, 1152, false, 0, true, false);
  test(7, 2050, false), test(3, 4096, false), test(2, 9000, false);
  auto empty = zeros<T>(0);
  h.both_refuse<LayerNorm<T>>(typed<T>("layer_norm") + " of no columns", "INVALID_ARGUMENT", [&](Side s) {
    return LayerNorm<T>{empty.view(s, 0, 0), empty.view(s), empty.view(s), 1e-6, empty.view(s, 0, 0), empty.view(s), empty.view(s)};
  });
  h.both_refuse<LayerNormBackward<T>>(typed<T>("layer_norm_backward") + " of no columns", "INVALID_ARGUMENT", [&](Side s) {
    return LayerNormBackward<T>{empty.view(s, 0, 0), empty.view(s, 0, 0), empty.view(s), empty.view(s), empty.view(s), {}, {}, {}, empty.view(s, 0, 0)};
  });
  if (sizeof(T) == 4 && h.timed()) test(8192, 1024, true), test(32768, 1152, true);
}

const Registered registered("layer_norm", [](Harness& h) { layer_norm<float>(h), layer_norm<double>(h); });

}  // namespace
