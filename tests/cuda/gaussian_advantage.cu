#include <algorithm>
#include <limits>
#include <numeric>

#include "../../csrc/ops/gaussian_advantage/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {


std::vector<int32_t> starts_of(const std::vector<size_t>& sizes) {
  std::vector<int32_t> starts{0};
  for (size_t n : sizes) starts.push_back(starts.back() + static_cast<int32_t>(n));
  return starts;
}

/** Rewards rounded to tenths, so that many are tied; some infinite. */
Array<double> rewards(size_t n, unsigned seed, bool infinite = false) {
  auto values = randoms<double>(n, seed).host();
  for (size_t i = 0; i < n; i++) values[i] = std::round(10 * values[i]) / 10;
  if (infinite)
    for (size_t i = 0; i < n; i += 7) values[i] = (i % 2 ? 1 : -1) * std::numeric_limits<double>::infinity();
  return Array<double>(std::move(values));
}

void gaussian_advantage(Harness& h) {
  struct Case {
    std::string name;
    std::vector<size_t> sizes;
    double tolerance = 0;
    bool infinite = false;
  };
  std::vector<size_t> ragged, mixed;
  for (size_t s = 0; s < 3000; s++) ragged.push_back(s * 37 % 13);
  for (size_t s = 0; s < 300; s++) mixed.push_back(s * s % 1500);
  const std::vector<Case> cases{{"none, one, two", {0, 1, 2, 0}},
                                {"512 groups of 8", std::vector<size_t>(512, 8)},
                                {"ragged, 0 to 12", ragged},
                                {"17 to 31", {17, 31, 24, 20, 5}},
                                {"9 to 16", {9, 16, 3, 0, 12}},
                                {"33 to 1024", {33, 1024, 100, 777, 64, 65, 128, 129}},
                                {"0 to 1499", mixed},
                                {"1025 to 8192", {1025, 8192, 0, 3, 4097, 8191}},
                                {"100,000 and 70,001", {100000, 70001}},
                                {"long ones between others", {9, 9000, 0, 40, 8193, 8192, 20000, 1}},
                                {"infinities", {8, 100, 5000, 9001, 8200}, 0, true},
                                {"near rewards tied, 0 to 1499", mixed, 0.1000001},
                                {"near rewards tied, small", ragged, 0.1000001},
                                {"near rewards tied, 20 and 33", {20, 33, 32, 8, 9, 7}, 0.1000001},
                                {"near rewards tied, 1365 in 3", {1365, 1366, 1365}, 1e-9},
                                {"near rewards tied, infinities", {8, 1, 3000, 8500}, 1e-9, true},
                                {"near rewards tied, long", {8193, 30, 10000}, 0.1000001}};
  for (const auto& c : cases) {
    const size_t n = std::accumulate(c.sizes.begin(), c.sizes.end(), size_t{0});
    auto x = rewards(n, 7, c.infinite);
    Array<int32_t> starts(starts_of(c.sizes));
    auto out = zeros<double>(n);
    const std::function<GaussianAdvantage(Side)> make = [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), c.tolerance, out.view(s)}; };
    h.on_both<GaussianAdvantage>(make);
    h.close("gaussian_advantage, " + c.name, out, 1e-12);  // the logarithm is the platform's
    if (!c.sizes.empty()) {
      const size_t longest = *std::max_element(c.sizes.begin(), c.sizes.end());
      h.on_both<GaussianAdvantage>([&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), c.tolerance, out.view(s), longest}; });
      h.close("gaussian_advantage, " + c.name + ", the longest is known", out, 1e-12);
    }
    if (c.sizes.size() > 200) h.repeats<GaussianAdvantage, double>("gaussian_advantage, " + c.name, out, make);
  }
  {
    auto values = rewards(40, 3).host();
    values[21] = std::nan("");
    Array<double> x(std::move(values));
    Array<int32_t> starts(starts_of({8, 32})), falling(std::vector<int32_t>{0, 30, 20, 40});
    auto out = zeros<double>(40);
    h.both_refuse<GaussianAdvantage>("a NaN among rewards", "NON_FINITE", [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), 0, out.view(s)}; });
    h.both_refuse<GaussianAdvantage>("starts that fall", "INVALID_ARGUMENT", [&](Side s) { return GaussianAdvantage{x.view(s), falling.view(s), 0, out.view(s)}; });
    // NaN stops nothing from being sorted, in a warp, in blocks of both kinds and in memory
    for (const auto& [size, tolerance] : std::vector<std::pair<size_t, double>>{{33, 1e-3}, {600, 0.0}, {1000, 0.0}, {5000, 0.0}, {9000, 0.0}}) {
      std::vector<double> rising(size);
      for (size_t i = 0; i < size; i++) rising[i] = static_cast<double>(i);
      rising[size == 600 ? 512 : size - 1] = std::nan("");
      Array<double> one(std::move(rising));
      Array<int32_t> whole(starts_of({size}));
      auto ranks = zeros<double>(size);
      h.both_refuse<GaussianAdvantage>("a NaN among " + std::to_string(size) + " rising rewards", "NON_FINITE", [&](Side s) { return GaussianAdvantage{one.view(s), whole.view(s), tolerance, ranks.view(s)}; });
    }
    Array<int32_t> seesaw(std::vector<int32_t>{0, 40, 0, 40, 0, 40, 0, 40, 0, 40, 0, 40, 0, 40, 0, 40});
    h.both_refuse<GaussianAdvantage>("starts that rise and fall", "INVALID_ARGUMENT", [&](Side s) { return GaussianAdvantage{x.view(s), seesaw.view(s), 0, out.view(s)}; });
    h.both_refuse<GaussianAdvantage>("a tolerance below 0", "INVALID_ARGUMENT", [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), -1, out.view(s)}; });
  }
  if (!h.timed()) return;
  for (const auto& [count, size] : std::vector<std::pair<size_t, size_t>>{{65536, 8}, {1048576, 16}, {65536, 64}, {1024, 1024}, {1, 1048576}, {13, 80000}}) {
    const size_t n = count * size;
    auto x = rewards(n, 7);
    Array<int32_t> starts(starts_of(std::vector<size_t>(count, size)));
    auto out = zeros<double>(n);
    h.time<GaussianAdvantage>("gaussian_advantage f64, " + std::to_string(count) + " x " + std::to_string(size), 16.0 * static_cast<double>(n) + 4.0 * static_cast<double>(count),
                              [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), 0, out.view(s), size}; });
  }
}

const Registered registered("gaussian_advantage", gaussian_advantage);

}  // namespace
