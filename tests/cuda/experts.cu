#include <cmath>
#include <numeric>

#include "../../csrc/ops/expert_linear/op.h"
#include "../../csrc/ops/expert_swiglu/op.h"
#include "../../csrc/ops/router/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void router(Harness& h) {
  const auto test = [&](size_t rows, size_t experts, size_t active, bool normalise, bool ties, bool timing) {
    std::vector<T> numbers = randoms<T>(rows * experts, 1).host();
    if (ties)
      for (T& z : numbers) z = std::round(z);
    Array<T> logits(std::move(numbers));
    auto chosen = zeros<int32_t>(rows * active);
    auto weights = zeros<T>(rows * active), dWeights = randoms<T>(rows * active, 2), dLogits = zeros<T>(rows * experts);
    const std::function<Router<T>(Side)> forward = [&](Side s) { return Router<T>{logits.view(s, rows, experts), chosen.view(s, rows, active), normalise, weights.view(s, rows, active)}; };
    const std::function<RouterBackward<T>(Side)> backward = [&](Side s) {
      return RouterBackward<T>{dWeights.view(s, rows, active), logits.view(s, rows, experts), chosen.view(s, rows, active), weights.view(s, rows, active), normalise, dLogits.view(s, rows, experts)};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(experts) + ", " + std::to_string(active) + " chosen" + (normalise ? "" : ", as they are") + (ties ? ", many equal" : "");
    if (timing) {
      h.time<Router<T>>(typed<T>("router") + size, static_cast<double>(rows * (experts * sizeof(T) + active * (4 + sizeof(T)))), forward);
      h.time<RouterBackward<T>>(typed<T>("router_backward") + size, static_cast<double>(rows * ((normalise ? 1 : 2) * experts * sizeof(T) + active * (4 + 2 * sizeof(T)))), backward);
      return;
    }
    h.on_both<Router<T>>(forward);
    h.close(typed<T>("router") + size + ": chosen", chosen, 1e-12);
    h.close(typed<T>("router") + size + ": weights", weights, kTolerance<T>);
    h.on_both<RouterBackward<T>>(backward);
    h.close(typed<T>("router_backward") + size, dLogits, kTolerance<T>);
    if (rows > 100) h.repeats<RouterBackward<T>, T>(typed<T>("router_backward") + size, dLogits, backward);
  };
  for (const bool normalise : {true, false}) {
    test(0, 8, 2, normalise, false, false), test(1, 1, 1, normalise, false, false), test(33, 33, 33, normalise, false, false), test(300, 128, 8, normalise, false, false);
    test(50, 128, 8, normalise, true, false), test(3, 2050, 40, normalise, true, false);
  }
  auto logits = zeros<T>(12), weights = zeros<T>(8);
  Array<int32_t> bad(std::vector<int32_t>{0, 3, 2, -1, 1, 4, 2, 1});
  h.both_refuse<Router<T>>(typed<T>("router") + " of more experts than there are", "INVALID_ARGUMENT", [&](Side s) { return Router<T>{logits.view(s, 4, 1), bad.view(s, 4, 2), true, weights.view(s, 4, 2)}; });
  for (const bool normalise : {true, false})
    h.both_refuse<RouterBackward<T>>(typed<T>("router_backward") + " of an expert that is none", "INVALID_ARGUMENT", [&](Side s) {
      return RouterBackward<T>{weights.view(s, 4, 2), logits.view(s, 4, 3), bad.view(s, 4, 2), weights.view(s, 4, 2), normalise, logits.view(s, 4, 3)};
    });
  if (sizeof(T) == 4 && h.timed()) test(8192, 128, 8, true, false, true);
}

void expert_groups(Harness& h) {
  const auto test = [&](size_t rows, size_t experts, size_t active, bool timing) {
    std::mt19937 bits(1);
    std::vector<int32_t> all(rows * active);
    for (auto& e : all) e = static_cast<int32_t>(std::min<size_t>(bits() % experts, bits() % experts));
    Array<int32_t> chosen(std::move(all));
    auto starts = zeros<int32_t>(experts + 1), order = zeros<int32_t>(rows * active), of_rows = zeros<int32_t>(rows * active);
    const std::function<ExpertGroups(Side)> make = [&](Side s) { return ExpertGroups{chosen.view(s, rows, active), starts.view(s), order.view(s, rows, active), of_rows.view(s, rows, active)}; };
    const std::string name = "expert_groups " + std::to_string(rows) + " x " + std::to_string(active) + " of " + std::to_string(experts);
    if (timing) return h.time<ExpertGroups>(name, 12.0 * static_cast<double>(rows * active), make);
    h.on_both<ExpertGroups>(make);
    h.close(name + ": starts", starts, 1e-12), h.close(name + ": order", order, 1e-12), h.close(name + ": rows", of_rows, 1e-12);
  };
  test(0, 4, 2, false), test(1, 1, 1, false), test(33, 7, 3, false), test(2050, 128, 8, false);
  Array<int32_t> bad(std::vector<int32_t>{0, 3, 2, -1});
  auto out = zeros<int32_t>(4);
  h.both_refuse<ExpertGroups>("expert_groups of an expert that is none", "INVALID_ARGUMENT", [&](Side s) { return ExpertGroups{bad.view(s, 2, 2), out.view(s), out.view(s, 2, 2), out.view(s, 2, 2)}; });
  if (h.timed()) test(8192, 128, 8, true);
}

template <class T> void expert_swiglu(Harness& h) {
  const auto test = [&](size_t rows, size_t width, bool timing) {
    std::vector<int32_t> mixed(rows);
    for (size_t i = 0; i < rows; i++) mixed[i] = static_cast<int32_t>(i);
    std::shuffle(mixed.begin(), mixed.end(), std::mt19937(1));
    Array<int32_t> order(std::move(mixed));
    auto gateUp = randoms<T>(2 * rows * width, 2), weights = randoms<T>(rows, 3), dY = randoms<T>(rows * width, 4);
    auto y = zeros<T>(rows * width), dGateUp = zeros<T>(2 * rows * width), dWeights = zeros<T>(rows);
    const std::function<ExpertSwiGlu<T>(Side)> forward = [&](Side s) { return ExpertSwiGlu<T>{gateUp.view(s, rows, 2 * width), weights.view(s), order.view(s), y.view(s, rows, width)}; };
    const std::function<ExpertSwiGluBackward<T>(Side)> backward = [&](Side s) {
      return ExpertSwiGluBackward<T>{dY.view(s, rows, width), gateUp.view(s, rows, 2 * width), weights.view(s), order.view(s), dGateUp.view(s, rows, 2 * width), dWeights.view(s)};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(width);
    const double once = static_cast<double>(rows * width * sizeof(T));
    if (timing) {
      h.time<ExpertSwiGlu<T>>(typed<T>("expert_swiglu") + size, 3 * once, forward);
      h.time<ExpertSwiGluBackward<T>>(typed<T>("expert_swiglu_backward") + size, 5 * once, backward);
      return;
    }
    h.on_both<ExpertSwiGlu<T>>(forward);
    h.close(typed<T>("expert_swiglu") + size, y, kTolerance<T>);
    h.on_both<ExpertSwiGluBackward<T>>(backward);
    h.close(typed<T>("expert_swiglu_backward") + size + ": dGateUp", dGateUp, kTolerance<T>);
    h.close(typed<T>("expert_swiglu_backward") + size + ": dWeights", dWeights, 10 * kTolerance<T>);  // sums over rows of any sign
    if (rows > 10) h.repeats<ExpertSwiGluBackward<T>, T>(typed<T>("expert_swiglu_backward") + size, dWeights, backward);
  };
  test(0, 8, false), test(1, 1, false), test(33, 33, false), test(40, 768, false), test(5, 2050, false), test(2, 9000, false);
  Array<int32_t> bad(std::vector<int32_t>{1, 2});
  auto x = zeros<T>(16);
  h.both_refuse<ExpertSwiGlu<T>>(typed<T>("expert_swiglu") + " of a pair that is none", "INVALID_ARGUMENT", [&](Side s) { return ExpertSwiGlu<T>{x.view(s, 2, 8), x.view(s, 2, 1), bad.view(s), x.view(s, 2, 4)}; });
  h.both_refuse<ExpertSwiGluBackward<T>>(typed<T>("expert_swiglu_backward") + " of a pair that is none", "INVALID_ARGUMENT", [&](Side s) {
    return ExpertSwiGluBackward<T>{x.view(s, 2, 4), x.view(s, 2, 8), x.view(s, 2, 1), bad.view(s), x.view(s, 2, 8), x.view(s, 2, 1)};
  });
  if (sizeof(T) == 4 && h.timed()) test(65536, 768, true);
}

/** How many rows every expert has, as starts. */
Array<int32_t> starts_of(const std::vector<size_t>& sizes) {
  std::vector<int32_t> starts{0};
  for (const size_t n : sizes) starts.push_back(starts.back() + static_cast<int32_t>(n));
  return Array<int32_t>(std::move(starts));
}

template <class T, class W = T> void expert_linear(Harness& h) {
  const auto test = [&](const std::string& what, const std::vector<size_t>& sizes, size_t k, size_t n, bool timing = false) {
    const size_t rows = std::accumulate(sizes.begin(), sizes.end(), size_t{0}), experts = sizes.size();
    auto starts = starts_of(sizes);
    const auto scale = [](size_t terms) { return 1 / std::sqrt(static_cast<double>(terms + 1)); };
    auto x = randoms<T>(rows * k, 1, scale(k)), y = zeros<T>(rows * n), dY = randoms<T>(rows * n, 3, scale(n)), dX = zeros<T>(rows * k), dWeight = randoms<T>(experts * k * n, 4);
    auto weight = randoms<W>(experts * k * n, 2);
    const std::function<ExpertLinear<T, W>(Side)> forward = [&](Side s) { return ExpertLinear<T, W>{x.view(s, rows, k), starts.view(s), weight.view(s, experts, k, n), y.view(s, rows, n)}; };
    const std::function<ExpertLinearBackwardInput<T, W>(Side)> input = [&](Side s) {
      return ExpertLinearBackwardInput<T, W>{dY.view(s, rows, n), starts.view(s), weight.view(s, experts, k, n), dX.view(s, rows, k)};
    };
    const std::function<ExpertLinearBackwardWeight<T>(Side)> of_weight = [&](Side s) {
      return ExpertLinearBackwardWeight<T>{dY.view(s, rows, n), x.view(s, rows, k), starts.view(s), dWeight.view(s, experts, k, n)};
    };
    const std::string of = " of " + what + ", " + std::to_string(rows) + " x " + std::to_string(k) + " x " + std::to_string(n);
    if (timing) {
      const double flops = 2.0 * static_cast<double>(rows * k) * static_cast<double>(n);
      const auto reached = static_cast<size_t>(std::count_if(sizes.begin(), sizes.end(), [](size_t size) { return size > 0; }));
      const double bytes = static_cast<double>(rows * (k + n) * sizeof(T) + reached * k * n * sizeof(W));
      h.time<ExpertLinear<T, W>>(typed<T, W>("expert_linear") + of, bytes, forward, flops);
      if (rows < 16 * experts) return;
      h.time<ExpertLinearBackwardInput<T, W>>(typed<T, W>("expert_linear_backward_input") + of, bytes, input, flops);
      if (std::is_same_v<T, W>) h.time<ExpertLinearBackwardWeight<T>>(typed<T>("expert_linear_backward_weight") + of, bytes + static_cast<double>(reached * k * n * sizeof(T)), of_weight, flops);
      return;
    }
    h.on_both<ExpertLinear<T, W>>(forward);
    h.close(typed<T, W>("expert_linear") + of, y, kTolerance<T>);
    h.on_both<ExpertLinearBackwardInput<T, W>>(input);
    h.close(typed<T, W>("expert_linear_backward_input") + of, dX, kTolerance<T>);
    if (!std::is_same_v<T, W>) return;
    h.on_both<ExpertLinearBackwardWeight<T>>(of_weight);
    h.close(typed<T>("expert_linear_backward_weight") + of, dWeight, 2 * kTolerance<T>);  // sums over rows of any sign
    if (rows > 100) h.repeats<ExpertLinearBackwardWeight<T>, T>(typed<T>("expert_linear_backward_weight") + of, dWeight, of_weight);
  };
  test("one", {1}, 1, 1), test("no experts", {}, 3, 4), test("no rows", {0, 0}, 3, 4), test("nothing to sum", {2, 1}, 0, 4), test("nothing to give", {2, 1}, 4, 0);
  test("one row each", {1, 1, 1}, 33, 20), test("experts without rows", {0, 7, 0, 2, 0}, 21, 18), test("few rows of wide experts", {9, 0, 1, 25, 8}, 200, 300);
  test("several tiles", {250, 3, 0, 90}, 130, 70), test("more experts than threads", std::vector<size_t>(300, 1), 8, 12);

  // the last two rows of an expert, alone and behind 130 others
  constexpr size_t k = 68, n = 36, many = 132;
  auto x = randoms<T>(many * k, 1), together = zeros<T>(many * n), alone = zeros<T>(2 * n);
  auto weight = randoms<W>(2 * k * n, 2);
  auto starts_together = starts_of({0, many}), starts_alone = starts_of({0, 2});
  const ExpertLinear<T, W> both[] = {{x.view(Side::device, many, k), starts_together.view(Side::device), weight.view(Side::device, 2, k, n), together.view(Side::device, many, n)},
                                     {View<const T>(x.at(Side::device) + (many - 2) * k, 2, k), starts_alone.view(Side::device), weight.view(Side::device, 2, k, n), alone.view(Side::device, 2, n)}};
  for (const auto& op : both) h.run_call([&](Stream& s) { h.entry<ExpertLinear<T, W>>(Backend::cuda)->run(s, &op); });
  h.expect(std::memcmp(together.download().data() + (many - 2) * n, alone.download().data(), 2 * n * sizeof(T)) == 0,
           typed<T, W>("expert_linear") + ": a row has other bits alone than beside others");

  for (const auto& wrong : std::vector<std::vector<int32_t>>{{0, 2, 1}, {0, 1, 4}, {1, 2, 3}, {0, -5, 3}, {0, 3, 2}, {0, 2000000000, 3}}) {
    Array<int32_t> starts(wrong);
    auto rows = randoms<T>(3 * 2, 1), dWeight = zeros<T>(8);
    auto weights = randoms<W>(8, 2);
    const std::string of = " of starts " + std::to_string(wrong[0]) + " " + std::to_string(wrong[1]) + " " + std::to_string(wrong[2]);
    h.both_refuse<ExpertLinear<T, W>>(typed<T, W>("expert_linear") + of, "INVALID_ARGUMENT", [&](Side s) {
      return ExpertLinear<T, W>{rows.view(s, 3, 2), starts.view(s), weights.view(s, 2, 2, 2), rows.view(s, 3, 2)};
    });
    h.both_refuse<ExpertLinearBackwardInput<T, W>>(typed<T, W>("expert_linear_backward_input") + of, "INVALID_ARGUMENT", [&](Side s) {
      return ExpertLinearBackwardInput<T, W>{rows.view(s, 3, 2), starts.view(s), weights.view(s, 2, 2, 2), rows.view(s, 3, 2)};
    });
    if (std::is_same_v<T, W>)
      h.both_refuse<ExpertLinearBackwardWeight<T>>(typed<T>("expert_linear_backward_weight") + of, "INVALID_ARGUMENT", [&](Side s) {
        return ExpertLinearBackwardWeight<T>{rows.view(s, 3, 2), rows.view(s, 3, 2), starts.view(s), dWeight.view(s, 2, 2, 2)};
      });
  }
  if (sizeof(T) != 4 || !h.timed()) return;
  std::mt19937 bits(1);
  const auto dealt = [&](size_t pairs, size_t experts) {
    std::vector<size_t> sizes(experts);
    for (size_t i = 0; i < pairs; i++) sizes[bits() % experts]++;
    return sizes;
  };
  test("8 pairs", dealt(8, 128), 2048, 1536, true), test("64 rows with 8 of 128 experts", dealt(512, 128), 2048, 1536, true);
  test("8192 rows with 8 of 128 experts", dealt(65536, 128), 2048, 1536, true);
}

const Registered registered_router("router", [](Harness& h) { router<float>(h), router<double>(h); });
const Registered registered_groups("expert_groups", expert_groups);
const Registered registered_linear("expert_linear", [](Harness& h) { expert_linear<float>(h), expert_linear<double>(h), expert_linear<float, bf16>(h); });
const Registered registered_swiglu("expert_swiglu", [](Harness& h) { expert_swiglu<float>(h), expert_swiglu<double>(h); });

}  // namespace
