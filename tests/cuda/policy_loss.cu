#include "../../csrc/ops/policy_loss/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void policy_loss(Harness& h) {
  const auto test = [&](size_t n, int32_t kind, int32_t kl, bool old, bool timing) {
    auto log_probs = randoms<T>(n, 1, 0.6, -1.5), old_log_probs = randoms<T>(n, 2, 0.6, -1.5), advantages = randoms<T>(n, 3), weights = randoms<T>(n, 4);
    auto ref = randoms<T>(n, 5, 0.6, -1.5), kl_weights = randoms<T>(n, 6);
    auto loss = zeros<T>(n), slope = zeros<T>(n);
    auto clipped = zeros<int32_t>(n);
    const std::function<PolicyLoss<T>(Side)> make = [&](Side s) {
      return PolicyLoss<T>{log_probs.view(s), old ? View<const T>(old_log_probs.view(s)) : View<const T>{}, advantages.view(s), weights.view(s),
                           ref.view(s), kl_weights.view(s), kind, 0.2, 0.28, 3, 1.5, 2, kl, loss.view(s), slope.view(s), clipped.view(s)};
    };
    const std::string name = typed<T>("policy_loss") + " kind " + std::to_string(kind) + ", kl " + std::to_string(kl) + (old ? "" : ", ratio 1") + ", " + std::to_string(n);
    if (timing) return h.time<PolicyLoss<T>>(name, static_cast<double>(n) * (kl ? 8 : 6) * sizeof(T) + 4.0 * static_cast<double>(n), make);
    h.on_both<PolicyLoss<T>>(make);
    h.close(name + ": loss", loss, kTolerance<T>);
    h.close(name + ": dLogProbs", slope, kTolerance<T>);
    h.close(name + ": clipped", clipped, 1e-9);
  };
  for (int32_t kind = 0; kind <= 3; kind++) test(5001, kind, 0, true, false);
  for (int32_t kl = 1; kl <= 5; kl++) test(5001, 1, kl, true, false);
  test(37, 1, 4, false, false);
  test(0, 1, 0, true, false);
  auto x = zeros<T>(3), y = zeros<T>(3);
  Array<T> bad(std::vector<T>{1, static_cast<T>(std::nan("")), 2});
  auto clipped = zeros<int32_t>(3);
  const auto op = [&](Side s, View<T> log_probs, int32_t kind) {
    return PolicyLoss<T>{log_probs, {}, x.view(s), y.view(s), {}, {}, kind, 0.2, 0.2, 0, 1, 1, 0, x.view(s), y.view(s), clipped.view(s)};
  };
  h.both_refuse<PolicyLoss<T>>(typed<T>("policy_loss") + " of NaN without old log-probabilities", "NON_FINITE", [&](Side s) { return op(s, bad.view(s), 1); });
  h.both_refuse<PolicyLoss<T>>(typed<T>("policy_loss") + " of kind 9", "INVALID_ARGUMENT", [&](Side s) { return op(s, x.view(s), 9); });
  if (sizeof(T) == 4 && h.timed()) test(64 * 2048, 1, 4, true, true), test(size_t{1} << 26, 1, 0, true, true);
}

const Registered registered("policy_loss", [](Harness& h) { policy_loss<float>(h), policy_loss<double>(h); });

}  // namespace
