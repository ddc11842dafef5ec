#include "../../csrc/ops/gelu/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T, template <class> class Forward, template <class> class Backward> void gelu(Harness& h) {
  const auto test = [&](size_t n, bool timing, size_t shift = 0) {
    auto x = randoms<T>(n + shift, 1, 4), dY = randoms<T>(n, 2);
    auto y = zeros<T>(n), dX = zeros<T>(n);
    const auto input = [&](Side s) { return View<T>(x.at(s) + shift, n, 1); };
    const std::function<Forward<T>(Side)> forward = [&](Side s) { return Forward<T>{input(s), y.view(s, n, 1)}; };
    const std::function<Backward<T>(Side)> backward = [&](Side s) { return Backward<T>{dY.view(s, n, 1), input(s), dX.view(s, n, 1)}; };
    const std::string size = " " + std::to_string(n) + (shift ? ", unaligned" : ""), name = typed<T>(Forward<T>::kName) + size, back = typed<T>(Backward<T>::kName) + size;
    const double once = static_cast<double>(n * sizeof(T));
    if (timing) {
      h.time<Forward<T>>(name, 2 * once, forward);
      h.time<Backward<T>>(back, 3 * once, backward);
      return;
    }
    h.on_both<Forward<T>>(forward);
    h.close(name, y, kTolerance<T>);
    h.on_both<Backward<T>>(backward);
    h.close(back, dX, kTolerance<T>);
    if constexpr (sizeof(T) == 4) {
      auto narrow_y = zeros<bf16>(n), narrow_dX = zeros<bf16>(n);
      auto y_in_bf16 = forward(Side::device);
      y_in_bf16.y = {}, y_in_bf16.narrow_y = narrow_y.at(Side::device);
      h.on_device(y_in_bf16);
      h.rounds(name + " in bf16", y, narrow_y);
      auto dX_in_bf16 = backward(Side::device);
      dX_in_bf16.dX = {}, dX_in_bf16.narrow_dX = narrow_dX.at(Side::device);
      h.on_device(dX_in_bf16);
      h.rounds(back + " in bf16", dX, narrow_dX);
    }
    if (n > 10000) h.repeats<Backward<T>, T>(back, dX, backward);
  };
  test(0, false), test(1, false), test(33, false), test(2050, false), test(20003, false), test(3000, false, 1);
  if (sizeof(T) == 4 && h.timed()) test(8192 * 4096, true);
}

const Registered registered("gelu", [](Harness& h) {
  gelu<float, GeluTanh, GeluTanhBackward>(h), gelu<double, GeluTanh, GeluTanhBackward>(h);
  gelu<float, GeluErf, GeluErfBackward>(h), gelu<double, GeluErf, GeluErfBackward>(h);
});

}  // namespace
