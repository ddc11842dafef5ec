#include "../../csrc/ops/linear/op.h"

#include <cmath>

#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void linear(Harness& h) {
  const auto test = [&](size_t m, size_t n, size_t k, bool timing = false) {
    const double scale = 1 / std::sqrt(static_cast<double>(std::max<size_t>(1, k)));
    auto x = randoms<T>(m * k, 1, scale), weight = randoms<T>(n * k, 2), bias = randoms<T>(n, 3), residual = randoms<T>(m * n, 4), y = zeros<T>(m * n);
    auto dY = randoms<T>(m * n, 5, 1 / std::sqrt(static_cast<double>(std::max(m, n) + 1))), dX = randoms<T>(m * k, 6), dWeight = randoms<T>(n * k, 7), dBias = randoms<T>(n, 8);
    const std::string size = " " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
    const auto forward = [&](bool with) -> std::function<Linear<T>(Side)> {
      return [&, with](Side s) {
        Linear<T> op{x.view(s, m, k), weight.view(s, n, k), {}, {}, y.view(s, m, n)};
        if (with) op.bias = bias.view(s), op.residual = residual.view(s, m, n);
        return op;
      };
    };
    const auto input = [&](bool accumulate) -> std::function<LinearBackwardInput<T>(Side)> {
      return [&, accumulate](Side s) { return LinearBackwardInput<T>{dY.view(s, m, n), weight.view(s, n, k), dX.view(s, m, k), accumulate}; };
    };
    const std::function<LinearBackwardWeight<T>(Side)> of_weight = [&](Side s) {
      return LinearBackwardWeight<T>{dY.view(s, m, n), x.view(s, m, k), dWeight.view(s, n, k), dBias.view(s)};
    };
    if (timing) {
      const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
      const double bytes = static_cast<double>((m * k + n * k + m * n) * sizeof(T));
      h.time<Linear<T>>(typed<T>("linear") + size, bytes, forward(false), flops);
      h.time<LinearBackwardInput<T>>(typed<T>("linear_backward_input") + size, bytes, input(false), flops);
      h.time<LinearBackwardWeight<T>>(typed<T>("linear_backward_weight") + size, bytes, of_weight, flops);
      return;
    }
    h.on_both<Linear<T>>(forward(false));
    h.close(typed<T>("linear") + size, y, kTolerance<T>);
    h.on_both<Linear<T>>(forward(true));
    h.close(typed<T>("linear") + size + ", bias and residual", y, kTolerance<T>);
    h.on_both<LinearBackwardInput<T>>(input(false));
    h.close(typed<T>("linear_backward_input") + size, dX, kTolerance<T>);
    h.on_both<LinearBackwardInput<T>>(input(true));
    h.close(typed<T>("linear_backward_input") + size + ", added", dX, kTolerance<T>);
    h.on_both<LinearBackwardWeight<T>>(of_weight);
    h.close(typed<T>("linear_backward_weight") + size + ": dWeight", dWeight, kTolerance<T>);
    h.close(typed<T>("linear_backward_weight") + size + ": dBias", dBias, kTolerance<T>);
    if (m > 2000) h.repeats<LinearBackwardWeight<T>, T>(typed<T>("linear_backward_weight") + size, dWeight, of_weight);
  };
  test(0, 5, 7), test(1, 1, 1), test(8, 260, 64), test(5, 33, 17), test(3, 40, 4098), test(130, 257, 65), test(9, 129, 2500), test(2500, 40, 24), test(3, 0, 5), test(3, 5, 0);
  if (sizeof(T) == 4 && h.timed()) test(8192, 4096, 4096, true), test(8192, 2048, 6144, true), test(8, 4096, 4096, true), test(1, 12288, 4096, true);
}

const Registered registered("linear", [](Harness& h) { linear<float>(h), linear<double>(h); });

}  // namespace
