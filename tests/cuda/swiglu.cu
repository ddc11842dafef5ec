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

/** Of operands in bf16 what the same numbers in f32 give, rounded. */
void in_bf16(Harness& h) {
  const auto test = [&](size_t n) {
    constexpr Side d = Side::device;
    auto gate = rounded_for<bf16>(randoms<float>(n, 1, 4)), up = rounded_for<bf16>(randoms<float>(n, 2)), dY = rounded_for<bf16>(randoms<float>(n, 3));
    auto narrow_gate = random_weights<bf16, float>(n, 1, 4), narrow_up = random_weights<bf16, float>(n, 2), narrow_dY = random_weights<bf16, float>(n, 3);
    auto y = zeros<float>(n), dGate = zeros<float>(n), dUp = zeros<float>(n);
    auto narrow_y = zeros<bf16>(n), narrow_dUp = zeros<bf16>(n);
    SwiGlu<float> forward{gate.view(d, n, 1), up.view(d, n, 1), y.view(d, n, 1)};
    h.on_device(forward);
    forward.narrow_gate = narrow_gate.at(d), forward.narrow_up = narrow_up.at(d), forward.narrow_y = narrow_y.at(d);
    const std::string size = " in bf16 " + std::to_string(n);
    SwiGluBackward<float> backward{dY.view(d, n, 1), gate.view(d, n, 1), up.view(d, n, 1), dGate.view(d, n, 1), dUp.view(d, n, 1)};
    h.on_device(backward);
    backward.narrow_dY = narrow_dY.at(d), backward.narrow_gate = narrow_gate.at(d), backward.narrow_up = narrow_up.at(d);
    backward.narrow_dGate = narrow_dY.at(d), backward.narrow_dUp = narrow_dUp.at(d);
    if (h.timed() && n > 1000000) {
      h.time_call("swiglu" + size, 6.0 * static_cast<double>(n), h.starting(forward));
      h.time_call("swiglu_backward" + size, 10.0 * static_cast<double>(n), h.starting(backward));
      return;
    }
    h.on_device(forward), h.on_device(backward);
    h.rounds("swiglu" + size, y, narrow_y);
    h.rounds("swiglu_backward" + size + ": dGate in the place of dY", dGate, narrow_dY), h.rounds("swiglu_backward" + size + ": dUp", dUp, narrow_dUp);
  };
  test(0), test(1), test(2050), test(100003);
  if (h.timed()) test(8192 * 6144);
}

const Registered registered("swiglu", [](Harness& h) { swiglu<float>(h), swiglu<double>(h), in_bf16(h); });

}  // namespace
