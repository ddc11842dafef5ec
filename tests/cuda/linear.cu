#include "../../csrc/ops/linear/op.h"

#include <cmath>

#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** With weights of bf16 the device rounds activations to bf16, so that they are handed over rounded to both. */
template <class T, class W = T> void linear(Harness& h, const std::string& how = "") {
  // tensor cores cut off what f32 does not hold, where the CPU rounds
  const double tolerance = (sizeof(W) == 2 ? 3 : 1) * kTolerance<T>;
  const auto test = [&](size_t m, size_t n, size_t k, bool timing = false) {
    const double scale = 1 / std::sqrt(static_cast<double>(std::max<size_t>(1, k)));
    auto x = rounded_for<W>(randoms<T>(m * k, 1, scale)), bias = randoms<T>(n, 3), residual = randoms<T>(m * n, 4), y = zeros<T>(m * n);
    auto weight = random_weights<W, T>(n * k, 2);
    auto dY = rounded_for<W>(randoms<T>(m * n, 5, 1 / std::sqrt(static_cast<double>(std::max(m, n) + 1))));
    auto dX = randoms<T>(m * k, 6), dWeight = randoms<T>(n * k, 7), dBias = randoms<T>(n, 8);
    const std::string size = " " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + how;
    const auto name = [&](const char* op) { return typed<T, W>(op) + size; };
    using Forward = Linear<T, W>;
    using Input = LinearBackwardInput<T, W>;
    using Weight = LinearBackwardWeight<T>;
    const auto forward = [&](bool with_bias, Array<T>* onto) -> std::function<Forward(Side)> {
      return [&, with_bias, onto](Side s) {
        Forward op{x.view(s, m, k), weight.view(s, n, k), {}, {}, {}, y.view(s, m, n)};
        if (with_bias) op.bias = bias.view(s);
        if (onto) op.residual = onto->view(s, m, n);
        return op;
      };
    };
    const auto input = [&](bool accumulate) -> std::function<Input(Side)> {
      return [&, accumulate](Side s) { return Input{dY.view(s, m, n), weight.view(s, n, k), dX.view(s, m, k), accumulate}; };
    };
    const std::function<Weight(Side)> of_weight = [&](Side s) {
      Weight op{dY.view(s, m, n), x.view(s, m, k), dWeight.view(s, n, k), dBias.view(s)};
      op.in_bf16 = sizeof(W) == 2;
      return op;
    };
    if (timing) {
      const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
      const double of_weights = static_cast<double>(n * k), of_rows = static_cast<double>((m * k + m * n) * sizeof(T));
      h.time<Forward>(name("linear"), of_rows + of_weights * sizeof(W), forward(false, nullptr), flops);
      h.time<Input>(name("linear_backward_input"), of_rows + of_weights * sizeof(W), input(false), flops);
      h.time<Weight>(name("linear_backward_weight"), of_rows + 2 * of_weights * sizeof(T), of_weight, flops);
      return;
    }
    h.on_both<Forward>(forward(false, nullptr));
    h.close(name("linear"), y, tolerance);
    h.on_both<Forward>(forward(true, &residual));
    h.close(name("linear") + ", bias and residual", y, tolerance);
    h.on_both<Forward>(forward(true, nullptr));
    h.close(name("linear") + ", bias", y, tolerance);
    y.upload();
    h.on_both<Forward>(forward(false, &y));
    h.close(name("linear") + ", y the residual", y, tolerance);
    y.upload();
    h.on_both<Forward>(forward(true, &y));
    h.close(name("linear") + ", bias, y the residual", y, tolerance);
    h.on_both<Input>(input(false));
    h.close(name("linear_backward_input"), dX, tolerance);
    h.on_both<Input>(input(true));
    h.close(name("linear_backward_input") + ", added", dX, tolerance);
    h.on_both<Weight>(of_weight);
    h.close(name("linear_backward_weight") + ": dWeight", dWeight, tolerance);
    h.close(name("linear_backward_weight") + ": dBias", dBias, tolerance);
    if constexpr (sizeof(W) == 2) {
      constexpr Side d = Side::device;
      const auto narrowed = [](const Array<T>& from) {
        std::vector<bf16> values;
        for (const T value : from.host()) values.push_back(narrow(value));
        return Array<bf16>(std::move(values));
      };
      auto narrow_x = narrowed(x), narrow_dY = narrowed(dY), narrow_y = zeros<bf16>(m * n), narrow_dX = zeros<bf16>(m * k);
      auto again = zeros<T>(m * n), dX_again = zeros<T>(m * k);
      Forward y_of = forward(false, nullptr)(d);
      h.on_device(y_of);
      y_of.narrow_x = narrow_x.at(d), y_of.y = again.view(d, m, n);
      h.on_device(y_of);
      h.same(name("linear") + ", x in bf16", y, again);
      y_of.narrow_y = narrow_y.at(d);
      h.on_device(y_of);
      h.rounds(name("linear") + ", y in bf16", y, narrow_y);
      Input dX_of = input(false)(d);
      h.on_device(dX_of);
      dX_of.narrow_dY = narrow_dY.at(d), dX_of.dX = dX_again.view(d, m, k);
      h.on_device(dX_of);
      h.same(name("linear_backward_input") + ", dY in bf16", dX, dX_again);
      dX_of.narrow_dX = narrow_dX.at(d);
      h.on_device(dX_of);
      h.rounds(name("linear_backward_input") + ", dX in bf16", dX, narrow_dX);
      auto dWeight_again = zeros<T>(n * k), dBias_again = zeros<T>(n);
      dWeight.upload(), dBias.upload(), std::copy(dWeight.host().begin(), dWeight.host().end(), dWeight_again.at(Side::host));
      std::copy(dBias.host().begin(), dBias.host().end(), dBias_again.at(Side::host));
      dWeight_again.upload(), dBias_again.upload();
      Weight dW_of = of_weight(d);
      h.on_device(dW_of);
      dW_of.dY.data = nullptr, dW_of.narrow_dY = narrow_dY.at(d), dW_of.narrow_x = narrow_x.at(d);
      dW_of.dWeight = dWeight_again.view(d, n, k), dW_of.dBias = dBias_again.view(d);
      h.on_device(dW_of);
      h.same(name("linear_backward_weight") + ", both in bf16", dWeight, dWeight_again);
      h.same(name("linear_backward_weight") + ", both in bf16: dBias", dBias, dBias_again);
    }
    if (m > 2000) h.repeats<Weight, T>(name("linear_backward_weight"), dWeight, of_weight);
    if (m > 2000) h.repeats<Forward, T>(name("linear"), y, forward(true, &residual));
  };
  test(0, 5, 7), test(1, 1, 1), test(8, 260, 64), test(5, 33, 17), test(3, 40, 4098), test(130, 257, 65), test(9, 129, 2500), test(2500, 40, 24), test(3, 0, 5), test(3, 5, 0);
  if (sizeof(W) == 2) test(1, 33, 520), test(2, 9, 1000), test(40, 136, 2080), test(200, 264, 72), test(17, 130, 776), test(64, 1, 8), test(64, 260, 600), test(33, 384, 40);
  if (sizeof(W) == 2) test(136, 40, 72);  // of 136 rows the emulated library knows no product
  if (sizeof(T) == 8 || !h.timed()) return;
  test(8192, 4096, 4096, true), test(8192, 2048, 6144, true), test(8, 4096, 4096, true), test(1, 12288, 4096, true);
  if (sizeof(W) == 2) test(4096, 12288, 4096, true), test(64, 4096, 4096, true), test(8, 151936, 2048, true);
  if (sizeof(W) == 2)
    for (const size_t m : {1, 16, 64}) test(m, 151936, 2048, true), test(m, 6144, 2048, true), test(m, 4096, 12288, true);
}

const Registered registered("linear", [](Harness& h) {
  linear<float>(h), linear<double>(h);
  h.with_and_without_blas([&](const std::string& how) { linear<float, bf16>(h, how); });
});

}  // namespace
