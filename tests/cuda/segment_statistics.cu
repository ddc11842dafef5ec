#include "../../csrc/ops/segment_statistics/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

void segment_statistics(Harness& h) {
  const auto test = [&](const std::string& name, Array<double> values, std::vector<int32_t> bounds, bool timing) {
    Array<int32_t> starts(std::move(bounds));
    const size_t n = starts.host().size() - 1;
    auto mean = zeros<double>(n), variance = zeros<double>(n), minimum = zeros<double>(n), maximum = zeros<double>(n);
    const std::function<SegmentStatistics(Side)> make = [&](Side s) {
      return SegmentStatistics{values.view(s), starts.view(s), mean.view(s), variance.view(s), minimum.view(s), maximum.view(s)};
    };
    const std::string of = "segment_statistics f64 " + name;
    if (timing) return h.time<SegmentStatistics>(of, 8.0 * static_cast<double>(values.host().size() + 4 * n), make);
    h.on_both<SegmentStatistics>(make);
    h.close(of + ": mean", mean, 1e-12), h.close(of + ": variance", variance, 1e-12), h.close(of + ": minimum", minimum, 0x1p-60), h.close(of + ": maximum", maximum, 0x1p-60);
    if (n > 0) h.repeats<SegmentStatistics, double>(of, variance, make);
  };
  const auto even = [](size_t n, size_t size) {
    std::vector<int32_t> starts;
    for (size_t s = 0; s <= n; s++) starts.push_back(static_cast<int32_t>(s * size));
    return starts;
  };
  const double nan = std::nan(""), infinity = HUGE_VAL;
  test("none", zeros<double>(0), {0}, false), test("one of nothing", zeros<double>(0), {0, 0}, false), test("one of one", randoms<double>(1, 1), {0, 1}, false);
  test("equal, NaN, infinite, empty", Array<double>({0.1, 0.1, 0.1, 1, nan, 2, 1, infinity, 5, -infinity}), {0, 3, 6, 8, 8, 9, 10}, false);
  test("100 of 33", randoms<double>(3300, 2), even(100, 33), false), test("3 of 2050", randoms<double>(6150, 3, 1, 5), even(3, 2050), false);
  test("one of 5003 beside small ones", randoms<double>(5013, 4), {0, 1, 5004, 5004, 5013}, false);
  auto values = zeros<double>(4), out = zeros<double>(3);
  const auto refuse = [&](const std::string& name, std::vector<int32_t> bounds) {
    Array<int32_t> starts(std::move(bounds));
    h.both_refuse<SegmentStatistics>("segment_statistics of " + name, "INVALID_ARGUMENT", [&](Side s) {
      return SegmentStatistics{values.view(s), starts.view(s), out.view(s), out.view(s), out.view(s), out.view(s)};
    });
  };
  refuse("falling starts", {0, 3, 2, 4}), refuse("starts behind 0", {1, 2, 4}), refuse("an end before the last value", {0, 1, 3}), refuse("an end behind it", {0, 1, 500}), refuse("no segment but values", {0});
  if (h.timed()) test("65,536 of 8", randoms<double>(65536 * 8, 5), even(65536, 8), true), test("13 of 80,000", randoms<double>(1040000, 6), even(13, 80000), true);
}

const Registered registered("segment_statistics", segment_statistics);

}  // namespace
