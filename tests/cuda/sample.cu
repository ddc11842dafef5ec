#include "../../csrc/ops/sample/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

struct Settings {
  double temperature = 1;
  int32_t top_k = 0;
  double top_p = 1, penalty = 1;
  bool banned = false, whole = false;  // whole: logits are whole numbers, so that many are equal
};

template <class T> void sample(Harness& h) {
  const auto test = [&](size_t rows, size_t n, const Settings& s, bool timing) {
    std::mt19937 bits(1);
    std::vector<T> numbers = randoms<T>(rows * n, 2, 3).host();
    if (s.whole)
      for (T& z : numbers) z = std::round(z);
    Array<T> logits(std::move(numbers));
    std::vector<uint8_t> once(s.penalty == 1 ? 0 : rows * n), some(s.banned ? n : 0);
    for (auto& b : once) b = bits() % 3 == 0;
    for (auto& b : some) b = bits() % 4 != 0;
    if (s.banned) some[0] = 1;
    std::vector<int32_t> words(4 * rows);
    for (auto& w : words) w = static_cast<int32_t>(bits());
    Array<uint8_t> seen(std::move(once)), allowed(std::move(some));
    Array<int32_t> keys(std::move(words));
    auto tokens = zeros<int32_t>(rows);
    auto log_probs = zeros<T>(rows), entropy = zeros<T>(rows);
    const std::function<Sample<T>(Side)> make = [&](Side side) {
      return Sample<T>{logits.view(side, rows, n), s.penalty == 1 ? View<const uint8_t>{} : View<const uint8_t>(seen.view(side, rows, n)),
                       s.banned ? View<const uint8_t>(allowed.view(side)) : View<const uint8_t>{}, keys.view(side, rows, 4), s.temperature, s.top_k, s.top_p, s.penalty,
                       tokens.view(side), log_probs.view(side), entropy.view(side)};
    };
    char size[160];
    std::snprintf(size, sizeof size, " %zu x %zu, temperature %g, top-k %d, top-p %g, penalty %g%s%s", rows, n, s.temperature, s.top_k, s.top_p, s.penalty, s.banned ? ", some banned" : "", s.whole ? ", many equal" : "");
    const std::string name = typed<T>("sample") + size;
    if (timing) return h.time<Sample<T>>(name, static_cast<double>(rows * n * sizeof(T)), make);
    h.on_both<Sample<T>>(make);
    // two clocks that ring within a rounding would be another token; of these few rows none are
    h.close(name + ": tokens", tokens, 1e-12);
    h.close(name + ": logProbs", log_probs, kTolerance<T>);
    h.close(name + ": entropy", entropy, 10 * kTolerance<T>);  // sums of two thousand terms
    if (rows > 3) h.repeats<Sample<T>, int32_t>(name, tokens, make);
  };
  test(0, 5, {}, false), test(1, 1, {}, false), test(3, 33, {}, false), test(9, 2050, {}, false), test(5, 2050, {.temperature = 0.6}, false), test(5, 2050, {.banned = true}, false);
  test(5, 2050, {.temperature = 0}, false), test(5, 500, {.temperature = 0, .penalty = 1.3, .banned = true, .whole = true}, false);
  test(6, 2050, {.top_k = 20}, false), test(6, 500, {.top_k = 20, .whole = true}, false), test(2, 33, {.top_k = 33}, false), test(4, 100, {.top_k = 99, .banned = true}, false);
  test(6, 2050, {.top_p = 0.9}, false), test(6, 500, {.top_p = 0.5, .whole = true}, false), test(4, 300, {.top_p = 1e-9, .whole = true}, false), test(4, 300, {.top_p = 0.999999}, false);
  test(6, 1000, {.temperature = 0.8, .top_k = 50, .top_p = 0.8, .penalty = 1.2, .banned = true, .whole = true}, false), test(4, 300, {.penalty = 0.7}, false);
  // several parts of a row; more ids near the top than are listed; none that is allowed weighs anything beside those that are banned
  test(4, 20000, {}, false), test(2, 16385, {.temperature = 0}, false), test(2, 20000, {.top_k = 50, .top_p = 0.95}, false), test(2, 20000, {.temperature = 0.7, .top_p = 0.9}, false);
  test(2, 20000, {.top_p = 0.7, .whole = true}, false), test(2, 20000, {.top_k = 9000}, false), test(2, 12000, {.temperature = 0.002, .banned = true}, false);
  test(2, 20000, {.top_k = 9000, .top_p = 0.999, .whole = true}, false), test(2, 9000, {.temperature = 3, .top_p = 0.99}, false);

  const double infinity = HUGE_VAL, nan = std::nan("");
  auto tokens = zeros<int32_t>(2), keys = zeros<int32_t>(8);
  auto out = zeros<T>(2);
  Array<uint8_t> allowed(std::vector<uint8_t>{0, 1, 0});
  const auto refuse = [&](const std::string& name, const char* code, std::vector<double> second, double temperature, int32_t top_k, double top_p, double penalty) {
    std::vector<T> all{1, 2, 3};
    for (const double z : second) all.push_back(static_cast<T>(z));
    Array<T> logits(std::move(all));
    h.both_refuse<Sample<T>>(typed<T>("sample") + " of " + name, code, [&](Side s) {
      return Sample<T>{logits.view(s, 2, 3), {}, allowed.view(s), keys.view(s, 2, 4), temperature, top_k, top_p, penalty, tokens.view(s), out.view(s), out.view(s)};
    });
  };
  refuse("NaN", "NON_FINITE", {1, nan, 2}, 1, 0, 1, 1), refuse("infinity", "NON_FINITE", {1, 0, infinity}, 1, 0, 1, 1), refuse("nothing", "NON_FINITE", {-infinity, -infinity, -infinity}, 1, 0, 1, 1);
  refuse("no allowed id", "NON_FINITE", {1, -infinity, 0}, 1, 0, 1, 1), refuse("no allowed id, greedily", "NON_FINITE", {1, -infinity, 0}, 0, 0, 1, 1), refuse("no allowed id, top-k", "NON_FINITE", {1, -infinity, 0}, 1, 1, 0.5, 1);
  refuse("temperature −1", "INVALID_ARGUMENT", {1, 2, 3}, -1, 0, 1, 1), refuse("top-k −1", "INVALID_ARGUMENT", {1, 2, 3}, 1, -1, 1, 1);
  refuse("top-p 0", "INVALID_ARGUMENT", {1, 2, 3}, 1, 0, 0, 1), refuse("penalty 0", "INVALID_ARGUMENT", {1, 2, 3}, 1, 0, 1, 0);
  auto empty = zeros<T>(0);
  h.both_refuse<Sample<T>>(typed<T>("sample") + " of no vocabulary", "NON_FINITE", [&](Side s) {
    return Sample<T>{empty.view(s, 2, 0), {}, {}, keys.view(s, 2, 4), 1, 0, 1, 1, tokens.view(s), out.view(s), out.view(s)};
  });
  if (sizeof(T) == 4 && h.timed()) {
    test(64, 151936, {}, true), test(512, 151936, {}, true), test(64, 151936, {.temperature = 0}, true), test(512, 151936, {.temperature = 0.7, .top_k = 20, .top_p = 0.8}, true);
    test(64, 151936, {.temperature = 0.7, .top_k = 20, .top_p = 0.8}, true), test(512, 151936, {.top_p = 0.9}, true), test(1, 151936, {}, true);
  }
}

const Registered registered("sample", [](Harness& h) { sample<float>(h), sample<double>(h); });

}  // namespace
