#include "../../csrc/ops/head/op.h"

#include <cmath>

#include "../../csrc/backends/cuda/bf16_gemm.h"
#include "../../csrc/ops/policy_loss/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** The products of the head by themselves: logits of a slice in scoring, in training and of one that a second-level cache holds, then both gradients. Any numbers do. */
void products(Harness& h, Array<bf16>& operands, Array<float>& result, size_t vocabulary, size_t width, const std::string& how) {
  const auto time = [&](const char* of, size_t m, size_t n, size_t k, bool a_along, bool b_along, bool accumulate) {
    const auto* from = operands.at(Side::device);
    const double pairs = static_cast<double>(m * k + n * k), results = static_cast<double>(m * n) * (accumulate ? 2 : 1);
    h.time_call(std::string("product of ") + of + " " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + how, 2 * pairs + 4 * results, [&](Stream& s) {
      cuda::multiply(s, cuda::TensorProduct<bf16, bf16>{.m = m, .n = n, .k = k, .a = from, .b = from, .a_along = a_along, .b_along = b_along, .c = result.at(Side::device),
                                                        .accumulate = accumulate});
    }, 2 * static_cast<double>(m * n) * static_cast<double>(k));
  };
  time("logits", 8192, 8192, width, true, true, false), time("logits", 2048, 8192, width, true, true, false), time("logits", 4096, 2048, width, true, true, false);
  time("dHidden", 2048, width, vocabulary, true, false, false), time("dWeight", vocabulary, width, 2048, false, false, true);
}

/** With a weight of bf16 the device rounds hidden states and slopes to bf16: the former are handed over rounded to both. */
template <class T, class W = T> void head(Harness& h, const std::string& how = "") {
  constexpr bool kNarrow = sizeof(W) == 2;
  const double tolerance = (kNarrow ? 3 : 1) * kTolerance<T>;  // tensor cores cut off what f32 does not hold
  // each slope is off by up to 2⁻⁹ of itself, and 2⁻¹¹ since weights of softmax are held; they add up to 4, times weights of up to 2
  const double sloped = kNarrow ? 1.6e-2 : kTolerance<T>;
  const auto test = [&](size_t n, size_t width, size_t vocabulary, double temperature, double loudness = 1, bool timing = false) {
    auto hidden = rounded_for<W>(randoms<T>(n * width, 1, loudness));
    auto weight = random_weights<W, T>(vocabulary * width, 2, 1 / std::sqrt(static_cast<double>(width)));
    std::vector<int32_t> ids;
    for (size_t i = 0; i < n; i++) ids.push_back(static_cast<int32_t>(i * 7919 % vocabulary));
    Array<int32_t> targets(std::move(ids));
    auto log_probs = zeros<T>(n), entropy = zeros<T>(n), lse = zeros<T>(n), loss = zeros<T>(n), d_hidden = zeros<T>(n * width), d_weight = randoms<T>(vocabulary * width, 3);
    auto d_log_probs = randoms<T>(n, 4), d_entropy = randoms<T>(n, 5, 0.1), old = randoms<T>(n, 6, 0.3, -std::log(static_cast<double>(vocabulary)));
    auto advantages = randoms<T>(n, 7), weights = randoms<T>(n, 8, 0, 0.5), slopes = randoms<T>(n, 9, 0.01);
    auto clipped = zeros<int32_t>(n);
    size_t count = n;  // tokens of a call
    const auto name = [&](const char* op, const char* what = "") {
      return typed<T, W>(op) + " " + std::to_string(count) + " x " + std::to_string(width) + " x " + std::to_string(vocabulary) + how + what;
    };
    const auto some = [&](Side s, auto& array) { return View{array.at(s), count}; };
    const std::function<Head<T, W>(Side)> forward = [&](Side s) {
      return Head<T, W>{hidden.view(s, count, width), weight.view(s, vocabulary, width), some(s, targets), temperature, some(s, log_probs), some(s, entropy), some(s, lse)};
    };
    const std::function<HeadBackward<T, W>(Side)> backward = [&](Side s) {
      return HeadBackward<T, W>{some(s, d_log_probs), some(s, d_entropy), hidden.view(s, count, width), weight.view(s, vocabulary, width), some(s, targets), some(s, lse),
                                some(s, entropy), d_weight.view(s, vocabulary, width), temperature, d_hidden.view(s, count, width)};
    };
    const std::function<HeadPolicyLoss<T, W>(Side)> both = [&](Side s) {
      return HeadPolicyLoss<T, W>{hidden.view(s, count, width), weight.view(s, vocabulary, width), some(s, targets), some(s, old), some(s, advantages), some(s, weights), {}, {},
                                  some(s, slopes), some(s, d_entropy), d_weight.view(s, vocabulary, width), temperature, static_cast<int32_t>(PolicyLossKind::ppo), 0.2, 0.2, 3, 1,
                                  1.05, 0, some(s, log_probs), some(s, entropy), some(s, loss), some(s, clipped), d_hidden.view(s, count, width)};
    };
    if (timing) {
      for (count = n; count >= n / 2; count -= n / 2) {
        const double product = 2.0 * static_cast<double>(count) * static_cast<double>(width) * static_cast<double>(vocabulary);
        const double bytes = static_cast<double>(count * width * sizeof(T) + vocabulary * width * sizeof(W));
        h.time<Head<T, W>>(name("head"), bytes, forward, product);
        h.time<HeadPolicyLoss<T, W>>(name("head_policy_loss"), 3 * bytes, both, 3 * product);
      }
      if constexpr (kNarrow) products(h, weight, d_weight, vocabulary, width, how);
      return;
    }
    h.on_both<Head<T, W>>(forward);
    h.close(name("head", ": logProbs"), log_probs, tolerance);
    h.close(name("head", ": entropy"), entropy, tolerance);
    h.close(name("head", ": logSumExp"), lse, tolerance);
    h.on_both<HeadBackward<T, W>>(backward);
    h.close(name("head_backward", ": dHidden"), d_hidden, sloped);
    const double summed = (kNarrow ? std::max(1.0, std::sqrt(static_cast<double>(n) / 1000)) : 4) * sloped * loudness;  // roundings of n slopes add up as their root
    h.close(name("head_backward", ": dWeight"), d_weight, summed);
    h.on_both<HeadPolicyLoss<T, W>>(both);
    h.close(name("head_policy_loss", ": logProbs"), log_probs, tolerance);
    h.close(name("head_policy_loss", ": loss"), loss, tolerance * loudness);
    h.close(name("head_policy_loss", ": clipped"), clipped, 1e-9);
    h.close(name("head_policy_loss", ": dHidden"), d_hidden, sloped * loudness);
    h.close(name("head_policy_loss", ": dWeight"), d_weight, summed);
    if (n == 70) h.repeats<HeadPolicyLoss<T, W>, T>(name("head_policy_loss"), d_weight, both);
  };
  test(0, 8, 10, 1), test(1, 4, 1, 1), test(70, 24, 300, 0.7), test(3, 8, 8201, 1.3), test(2050, 3, 20, 1), test(9, 32, 500, 1, 300);
  test(2, 8, 16400, 1.1), test(2, 4, 16386, 0.9);  // slices of the vocabulary
  if (kNarrow) test(8, 16, 300, 1), test(200, 24, 304, 0.8), test(8200, 3, 20, 1);  // the last: two chunks of tokens
  const auto refused = [&](const std::string& what, const char* code, double temperature, int32_t target, double value) {
    auto hidden = randoms<T>(12, 1), results = zeros<T>(9);
    auto weight = random_weights<W, T>(40, 2);
    auto states = hidden.host();
    states[5] = static_cast<T>(value);
    Array<T> spoiled(std::move(states));
    Array<int32_t> targets({1, target, 3});
    h.both_refuse<Head<T, W>>(typed<T, W>("head") + " of " + what, code, [&](Side s) {
      return Head<T, W>{spoiled.view(s, 3, 4), weight.view(s, 10, 4), targets.view(s), temperature, {results.at(s), 3}, {results.at(s) + 3, 3}, {results.at(s) + 6, 3}};
    });
  };
  refused("no temperature", "INVALID_ARGUMENT", 0, 2, 1);
  refused("a target beyond the vocabulary", "INVALID_ARGUMENT", 1, 10, 1);
  refused("a target below 0", "INVALID_ARGUMENT", 1, -1, 1);
  refused("NaN", "NON_FINITE", 1, 2, std::nan(""));
  refused("infinity", "NON_FINITE", 1, 2, INFINITY);
  if (sizeof(T) != 4 || !h.timed()) return;
  test(130, 96, 151936, 1);
  if (!kNarrow || how.empty()) return test(2048, 2048, 151936, 1, 1, true);
  test(8192, 2048, 151936, 1, 1, true), test(8192, 4096, 151936, 1, 1, true);  // and half as many tokens
}

const Registered registered("head", [](Harness& h) {
  head<float>(h), head<double>(h);
  h.with_and_without_blas([&](const std::string& how) { head<float, bf16>(h, how); });
});

}  // namespace
