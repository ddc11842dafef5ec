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

const Registered registered_router("router", [](Harness& h) { router<float>(h), router<double>(h); });
const Registered registered_groups("expert_groups", expert_groups);
const Registered registered_swiglu("expert_swiglu", [](Harness& h) { expert_swiglu<float>(h), expert_swiglu<double>(h); });

}  // namespace
