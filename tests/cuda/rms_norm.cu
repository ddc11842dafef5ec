#include "../../csrc/ops/rms_norm/op.h"
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
    if (rows > 100) h.repeats<RmsNormBackward<T>, T>(typed<T>("rms_norm_backward") + size, dWeight, backward);
  };
  test(0, 8, false), test(1, 1, false), test(5, 33, false), test(1000, 128, false), test(300, 2048, false), test(7, 2050, false), test(50, 512, false), test(30, 1024, false, 1), test(9, 4096, false), test(3, 8192, false), test(2, 33000, false);
  auto empty = zeros<T>(0);
  h.both_refuse<RmsNorm<T>>(typed<T>("rms_norm") + " of no columns", "INVALID_ARGUMENT", [&](Side s) { return RmsNorm<T>{empty.view(s, 0, 0), empty.view(s), 1e-6, empty.view(s, 0, 0), empty.view(s)}; });
  if (sizeof(T) == 4 && h.timed()) test(4096, 2048, true), test(8192, 2048, true), test(8192, 4096, true), test(65536, 2048, true), test(131072, 128, true), test(1048576, 128, true);
}

const Registered registered("rms_norm", [](Harness& h) { rms_norm<float>(h), rms_norm<double>(h); });

}  // namespace
