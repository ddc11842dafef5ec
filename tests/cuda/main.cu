// g2rpo_cuda [--quick]: every op that has a kernel for NVIDIA GPUs, beside the CPU's, then timed. Ends with 1 if one is off.
// --quick leaves the times out, for compute-sanitizer.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "../../csrc/core/status.h"
#include "../../csrc/ops/adamw/op.h"
#include "../../csrc/ops/gaussian_advantage/op.h"
#include "../../csrc/ops/normal_quantile/op.h"
#include "../../csrc/ops/policy_loss/op.h"
#include "../../csrc/ops/rms_norm/op.h"
#include "../../csrc/ops/squared_norm/op.h"
#include "../../csrc/ops/swiglu/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> constexpr double kTolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;  // sums of a thousand terms of order one
template <class T> std::string typed(const char* name) { return std::string(name) + (sizeof(T) == 4 ? " f32" : " f64"); }

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

void gaussian_advantage(Harness& h, bool timed) {
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
                                {"33 to 1024", {33, 1024, 100, 777}},
                                {"0 to 1499", mixed},
                                {"100,000 and 70,001", {100000, 70001}},
                                {"infinities", {8, 100, 5000}, 0, true},
                                {"near rewards tied, 0 to 1499", mixed, 0.1000001},
                                {"near rewards tied, small", ragged, 0.1000001},
                                {"near rewards tied, infinities", {8, 1, 3000}, 1e-9, true}};
  for (const auto& c : cases) {
    const size_t n = std::accumulate(c.sizes.begin(), c.sizes.end(), size_t{0});
    auto x = rewards(n, 7, c.infinite);
    Array<int32_t> starts(starts_of(c.sizes));
    auto out = zeros<double>(n);
    const std::function<GaussianAdvantage(Side)> make = [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), c.tolerance, out.view(s)}; };
    h.on_both<GaussianAdvantage>(make);
    h.close("gaussian_advantage, " + c.name, out, 1e-12);  // the logarithm is the platform's
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
    h.both_refuse<GaussianAdvantage>("a tolerance below 0", "INVALID_ARGUMENT", [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), -1, out.view(s)}; });
  }
  if (!timed) return;
  for (const auto& [count, size] : std::vector<std::pair<size_t, size_t>>{{65536, 8}, {1048576, 16}, {65536, 64}, {1024, 1024}, {1, 1048576}}) {
    const size_t n = count * size;
    auto x = rewards(n, 7);
    Array<int32_t> starts(starts_of(std::vector<size_t>(count, size)));
    auto out = zeros<double>(n);
    h.time<GaussianAdvantage>("gaussian_advantage f64, " + std::to_string(count) + " x " + std::to_string(size), 16.0 * static_cast<double>(n) + 4.0 * static_cast<double>(count),
                              [&](Side s) { return GaussianAdvantage{x.view(s), starts.view(s), 0, out.view(s)}; });
  }
}

void normal_quantile(Harness& h, bool timed) {
  std::vector<double> p{0, 1, 0.5, 1e-300, 5e-324, 1 - 1e-16, -1, 2, 0.075, 0.925};
  for (size_t i = 0; i < 10000; i++) p.push_back((static_cast<double>(i) + 0.5) / 10000);
  Array<double> in(std::move(p));
  auto out = zeros<double>(in.host().size());
  h.on_both<NormalQuantile>([&](Side s) { return NormalQuantile{in.view(s), out.view(s)}; });
  h.close("normal_quantile", out, 2e-15);
  if (!timed) return;
  const size_t n = size_t{1} << 26;
  auto many = randoms<double>(n, 1, 0.05, 0.5);
  auto to = zeros<double>(n);
  h.time<NormalQuantile>("normal_quantile f64, 67,108,864", 16.0 * static_cast<double>(n), [&](Side s) { return NormalQuantile{many.view(s), to.view(s)}; });
}

template <class T> void policy_loss(Harness& h, bool timed) {
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
  if (timed) test(64 * 2048, 1, 4, true, true), test(size_t{1} << 26, 1, 0, true, true);
}

template <class T> void rms_norm(Harness& h, bool timed) {
  const auto test = [&](size_t rows, size_t width, bool timing) {
    auto x = randoms<T>(rows * width, 1), weight = randoms<T>(width, 2), dY = randoms<T>(rows * width, 3), residual = randoms<T>(rows * width, 4), dWeight = randoms<T>(width, 5);
    auto y = zeros<T>(rows * width), rstd = zeros<T>(rows), dX = zeros<T>(rows * width);
    const std::function<RmsNorm<T>(Side)> forward = [&](Side s) { return RmsNorm<T>{x.view(s, rows, width), weight.view(s), 1e-6, y.view(s, rows, width), rstd.view(s)}; };
    const std::function<RmsNormBackward<T>(Side)> backward = [&](Side s) {
      return RmsNormBackward<T>{dY.view(s, rows, width), x.view(s, rows, width), weight.view(s), rstd.view(s), residual.view(s, rows, width), dWeight.view(s), dX.view(s, rows, width)};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(width);
    const double once = static_cast<double>(rows * width * sizeof(T));
    if (timing) {
      h.time<RmsNorm<T>>(typed<T>("rms_norm") + size, 2 * once, forward);
      h.time<RmsNormBackward<T>>(typed<T>("rms_norm_backward") + size, 4 * once, backward);
      return;
    }
    h.on_both<RmsNorm<T>>(forward);
    h.close(typed<T>("rms_norm") + size + ": y", y, kTolerance<T>);
    h.close(typed<T>("rms_norm") + size + ": rstd", rstd, kTolerance<T>);
    h.on_both<RmsNormBackward<T>>(backward);
    h.close(typed<T>("rms_norm_backward") + size + ": dX", dX, kTolerance<T>);
    h.close(typed<T>("rms_norm_backward") + size + ": dWeight", dWeight, 10 * kTolerance<T>);  // a sum over all rows
    if (rows > 100) h.repeats<RmsNormBackward<T>, T>(typed<T>("rms_norm_backward") + size, dWeight, backward);
  };
  test(0, 8, false), test(1, 1, false), test(5, 33, false), test(1000, 128, false), test(300, 2048, false), test(7, 2050, false);
  auto empty = zeros<T>(0);
  h.both_refuse<RmsNorm<T>>(typed<T>("rms_norm") + " of no columns", "INVALID_ARGUMENT", [&](Side s) { return RmsNorm<T>{empty.view(s, 0, 0), empty.view(s), 1e-6, empty.view(s, 0, 0), empty.view(s)}; });
  if (timed) test(4096, 2048, true), test(65536, 2048, true), test(1048576, 128, true);
}

template <class T> void swiglu(Harness& h, bool timed) {
  const auto test = [&](size_t n, bool timing) {
    auto gate = randoms<T>(n, 1, 4), up = randoms<T>(n, 2), dY = randoms<T>(n, 3);
    auto y = zeros<T>(n), dGate = zeros<T>(n), dUp = zeros<T>(n);
    const std::function<SwiGlu<T>(Side)> forward = [&](Side s) { return SwiGlu<T>{gate.view(s, n, 1), up.view(s, n, 1), y.view(s, n, 1)}; };
    const std::function<SwiGluBackward<T>(Side)> backward = [&](Side s) {
      return SwiGluBackward<T>{dY.view(s, n, 1), gate.view(s, n, 1), up.view(s, n, 1), dGate.view(s, n, 1), dUp.view(s, n, 1)};
    };
    const double once = static_cast<double>(n * sizeof(T));
    if (timing) {
      h.time<SwiGlu<T>>(typed<T>("swiglu") + " " + std::to_string(n), 3 * once, forward);
      h.time<SwiGluBackward<T>>(typed<T>("swiglu_backward") + " " + std::to_string(n), 5 * once, backward);
      return;
    }
    h.on_both<SwiGlu<T>>(forward);
    h.close(typed<T>("swiglu") + " " + std::to_string(n), y, kTolerance<T>);
    h.on_both<SwiGluBackward<T>>(backward);
    h.close(typed<T>("swiglu_backward") + " " + std::to_string(n) + ": dGate", dGate, kTolerance<T>);
    h.close(typed<T>("swiglu_backward") + " " + std::to_string(n) + ": dUp", dUp, kTolerance<T>);
  };
  test(0, false), test(1, false), test(100003, false);
  if (timed) test(4096 * 2048, true), test(65536 * 2048, true);
}

/** Tensors of one role in one piece of memory. */
template <class T> struct Role {
  Array<T> all;
  std::vector<size_t> sizes;
  std::vector<RawView> items[2];
  Role(Array<T> array, const std::vector<size_t>& sizes) : all(std::move(array)), sizes(sizes) {}
  template <class V> ViewList<V> list(Side side) {
    auto& table = items[side == Side::device];
    table.clear();
    size_t at = 0;
    for (size_t n : sizes) table.push_back({const_cast<std::remove_const_t<T>*>(all.at(side)) + at, n}), at += n;
    ViewList<V> found;
    found.items = table.data(), found.size = table.size();
    return found;
  }
};

template <class T> void optimizer(Harness& h, bool timed) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    Role<T> gradients(randoms<T>(n, 1), sizes), parameters(randoms<T>(n, 2), sizes), first(randoms<T>(n, 3, 0.1), sizes), second(randoms<T>(n, 4, 0.0, 0.01), sizes);
    auto sum = zeros<double>(1);
    const std::function<AdamW<T>(Side)> update = [&](Side s) {
      return AdamW<T>{gradients.template list<const T>(s), parameters.template list<T>(s), first.template list<T>(s), second.template list<T>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 0.5};
    };
    const std::function<SquaredNorm<T>(Side)> norm = [&](Side s) { return SquaredNorm<T>{gradients.template list<const T>(s), sum.view(s)}; };
    const std::string size = " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) {
      h.time<AdamW<T>>(typed<T>("adamw") + size, 7.0 * static_cast<double>(n * sizeof(T)), update);
      h.time<SquaredNorm<T>>(typed<T>("squared_norm") + size, static_cast<double>(n * sizeof(T)), norm);
      return;
    }
    h.on_both<AdamW<T>>(update);
    h.close(typed<T>("adamw") + size + ": parameters", parameters.all, kTolerance<T>);
    h.close(typed<T>("adamw") + size + ": first moments", first.all, kTolerance<T>);
    h.close(typed<T>("adamw") + size + ": second moments", second.all, kTolerance<T>);
    h.on_both<SquaredNorm<T>>(norm);
    h.close(typed<T>("squared_norm") + size, sum, 1e-12);
    if (n > 10000) h.repeats<SquaredNorm<T>, double>(typed<T>("squared_norm") + size, sum, norm);
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 100003}, false);
  Role<T> a(zeros<T>(5), {5}), b(zeros<T>(5), {2, 3});
  h.both_refuse<AdamW<T>>(typed<T>("adamw") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) {
    return AdamW<T>{a.template list<const T>(s), b.template list<T>(s), a.template list<T>(s), a.template list<T>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 0.5};
  });
  if (timed) test(std::vector<size_t>(16, size_t{1} << 20), true), test(std::vector<size_t>(200, 1'400'000), true);
}

}  // namespace

int main(int argc, char** argv) {
  const bool timed = !(argc > 1 && std::strcmp(argv[1], "--quick") == 0);
  try {
    cudaDeviceProp device;
    cuda::check(cudaGetDeviceProperties(&device, 0), "looking for a device");
    Harness h;
    std::printf("device %s, compute capability %d.%d; a copy reads and writes %.2f TB/s\n", device.name, device.major, device.minor, h.copy_rate());
    gaussian_advantage(h, timed);
    normal_quantile(h, timed);
    policy_loss<float>(h, timed), policy_loss<double>(h, false);
    rms_norm<float>(h, timed), rms_norm<double>(h, false);
    swiglu<float>(h, timed), swiglu<double>(h, false);
    optimizer<float>(h, timed), optimizer<double>(h, false);
    std::printf("%d failed\n", h.failures());
    return h.failures() > 0;
  } catch (const Error& error) {
    std::printf("FAIL  %s %s\n", error.code, error.what());
    return 1;
  }
}
