#include "../../csrc/ops/rms_norm/op.h"
#include "../../csrc/ops/rotary/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void rms_norm(Harness& h) {
  const auto test = [&](size_t rows, size_t width, bool timing, size_t shift = 0) {
    auto x = randoms<T>(rows * width + shift, 1), weight = randoms<T>(width, 2), dY = randoms<T>(rows * width, 3), residual = randoms<T>(rows * width, 4), dWeight = randoms<T>(width, 5);
    auto y = zeros<T>(rows * width), rstd = zeros<T>(rows), dX = zeros<T>(rows * width);
    const auto input = [&](Side s) { return View<T>(x.at(s) + shift, rows, width); };
    const std::function<RmsNorm<T>(Side)> forward = [&](Side s) { return RmsNorm<T>{input(s), weight.view(s), 1e-6, y.view(s, rows, width), rstd.view(s)}; };
    const std::function<RmsNormBackward<T>(Side)> backward = [&](Side s) {
      return RmsNormBackward<T>{dY.view(s, rows, width), input(s), weight.view(s), rstd.view(s), residual.view(s, rows, width), dWeight.view(s), dX.view(s, rows, width)};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(width) + (shift ? ", unaligned" : "");
    const double once = static_cast<double>(rows * width * sizeof(T));
    if (timing) {
      h.time<RmsNorm<T>>(typed<T>("rms_norm") + size, 2 * once, forward);
      h.time<RmsNormBackward<T>>(typed<T>("rms_norm_backward") + size, 4 * once, backward);
      return;
    }
    h.on_both<RmsNorm<T>>(forward);
    h.close(typed<T>("rms_norm") + size + ": y", y, kTolerance<T>);
    h.close(typed<T>("rms_norm") + size + ": rstd", rstd, kTolerance<T>);
    h.on_both<RmsNormBackward<T>>(backward);
    h.close(typed<T>("rms_norm_backward") + size + ": dX", dX, kTolerance<T>);
    h.close(typed<T>("rms_norm_backward") + size + ": dWeight", dWeight, 10 * kTolerance<T>);  // a sum over all rows
    if constexpr (sizeof(T) == 4) {
      auto narrow_y = zeros<bf16>(rows * width), narrow_dX = zeros<bf16>(rows * width);
      auto y_in_bf16 = forward(Side::device);
      y_in_bf16.y = {}, y_in_bf16.narrow_y = narrow_y.at(Side::device);
      h.on_device(y_in_bf16);
      h.rounds(typed<T>("rms_norm") + size + ": y in bf16", y, narrow_y);
      auto both = backward(Side::device);
      both.narrow_dX = narrow_dX.at(Side::device);
      h.on_device(both);
      h.rounds(typed<T>("rms_norm_backward") + size + ": dX both ways", dX, narrow_dX);
      both.dX = {};
      h.on_device(both);
      h.rounds(typed<T>("rms_norm_backward") + size + ": dX in bf16", dX, narrow_dX);
    }
    if (rows > 100) h.repeats<RmsNormBackward<T>, T>(typed<T>("rms_norm_backward") + size, dWeight, backward);
  };
  test(0, 8, false), test(1, 1, false), test(5, 33, false), test(1000, 128, false), test(300, 2048, false), test(7, 2050, false), test(50, 512, false), test(30, 1024, false, 1), test(9, 4096, false), test(3, 8192, false), test(2, 33000, false);
  auto empty = zeros<T>(0);
  h.both_refuse<RmsNorm<T>>(typed<T>("rms_norm") + " of no columns", "INVALID_ARGUMENT", [&](Side s) { return RmsNorm<T>{empty.view(s, 0, 0), empty.view(s), 1e-6, empty.view(s, 0, 0), empty.view(s)}; });
  if (sizeof(T) == 4 && h.timed()) test(4096, 2048, true), test(8192, 2048, true), test(8192, 4096, true), test(65536, 2048, true), test(131072, 128, true), test(1048576, 128, true);
}

/** Norms that turn heads leave the bits of norms and Rotary one after the other. */
template <class T> void turned(Harness& h) {
  const auto test = [&](size_t tokens, size_t heads, size_t width) {
    const size_t rows = tokens * heads;
    auto x = randoms<T>(rows * width, 1), weight = randoms<T>(width, 2), cosine = randoms<T>(tokens * width / 2, 3), sine = randoms<T>(tokens * width / 2, 4), dY = randoms<T>(rows * width, 5);
    auto y = zeros<T>(rows * width), turned_y = zeros<T>(rows * width), rstd = zeros<T>(rows), dX = zeros<T>(rows * width), turned_dX = zeros<T>(rows * width);
    auto dWeight = zeros<T>(width), turned_dWeight = zeros<T>(width);
    constexpr Side d = Side::device;
    const auto rotary = [&](Array<T>& of, bool back) { return Rotary<T>{cosine.view(d, tokens, width / 2), sine.view(d, tokens, width / 2), of.view(d, tokens, heads, width), back}; };
    RmsNorm<T> forward{x.view(d, rows, width), weight.view(d), 1e-6, y.view(d, rows, width), rstd.view(d)};
    h.on_device(forward), h.on_device(rotary(y, false));
    forward.y = turned_y.view(d, rows, width), forward.turn = {cosine.at(d), sine.at(d), heads};
    const std::string size = " " + std::to_string(tokens) + " x " + std::to_string(heads) + " x " + std::to_string(width);
    if (h.timed() && tokens > 4000) return h.time_call(typed<T>("rms_norm, turned") + size, static_cast<double>(2 * rows * width * sizeof(T)), h.starting(forward));
    h.on_device(forward);
    h.same(typed<T>("rms_norm, turned") + size, y, turned_y);
    RmsNormBackward<T> backward{dY.view(d, rows, width), x.view(d, rows, width), weight.view(d), rstd.view(d), {}, turned_dWeight.view(d), turned_dX.view(d, rows, width)};
    backward.turn = forward.turn;
    h.on_device(backward);
    dY.upload();
    h.on_device(rotary(dY, true));
    backward.turn = {}, backward.dWeight = dWeight.view(d), backward.dX = dX.view(d, rows, width);
    h.on_device(backward);
    h.same(typed<T>("rms_norm_backward, turned") + size, dX, turned_dX);
    h.same(typed<T>("rms_norm_backward, turned") + size + ": dWeight", dWeight, turned_dWeight);
  };
  test(0, 2, 128), test(5, 3, 128), test(50, 4, 64), test(7, 1, 32), test(9, 2, 8), test(6, 2, 80), test(3, 5, 14), test(4, 2, 256);
  if (sizeof(T) == 4 && h.timed()) test(8192, 16, 128);
}

const Registered registered("rms_norm", [](Harness& h) { rms_norm<float>(h), rms_norm<double>(h), turned<float>(h), turned<double>(h); });

}  // namespace
