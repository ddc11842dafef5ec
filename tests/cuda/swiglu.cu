#include "../../csrc/ops/swiglu/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void swiglu(Harness& h) {
  const auto test = [&](size_t n, bool timing, size_t shift = 0) {
    auto gate = randoms<T>(n + shift, 1, 4), up = randoms<T>(n, 2), dY = randoms<T>(n, 3);
    auto y = zeros<T>(n), dGate = zeros<T>(n), dUp = zeros<T>(n);
    const auto input = [&](Side s) { return View<T>(gate.at(s) + shift, n, 1); };
    const std::function<SwiGlu<T>(Side)> forward = [&](Side s) { return SwiGlu<T>{input(s), up.view(s, n, 1), y.view(s, n, 1)}; };
    const std::function<SwiGluBackward<T>(Side)> backward = [&](Side s) {
      return SwiGluBackward<T>{dY.view(s, n, 1), input(s), up.view(s, n, 1), dGate.view(s, n, 1), dUp.view(s, n, 1)};
    };
    const double once = static_cast<double>(n * sizeof(T));
    if (timing) {
      h.time<SwiGlu<T>>(typed<T>("swiglu") + " " + std::to_string(n), 3 * once, forward);
      h.time<SwiGluBackward<T>>(typed<T>("swiglu_backward") + " " + std::to_string(n), 5 * once, backward);
      return;
    }
    h.on_both<SwiGlu<T>>(forward);
    h.close(typed<T>("swiglu") + " " + std::to_string(n), y, kTolerance<T>);
    h.on_both<SwiGluBackward<T>>(backward);
    h.close(typed<T>("swiglu_backward") + " " + std::to_string(n) + ": dGate", dGate, kTolerance<T>);
    h.close(typed<T>("swiglu_backward") + " " + std::to_string(n) + ": dUp", dUp, kTolerance<T>);
  };
  test(0, false), test(1, false), test(2050, false), test(100003, false), test(5000, false, 1);
  if (sizeof(T) == 4 && h.timed()) test(4096 * 2048, true), test(8192 * 6144, true), test(65536 * 2048, true);
}

const Registered registered("swiglu", [](Harness& h) { swiglu<float>(h), swiglu<double>(h); });

}  // namespace
