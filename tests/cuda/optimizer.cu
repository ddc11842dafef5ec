#include <algorithm>
#include <limits>
#include <numeric>

#include "../../csrc/ops/adamw/op.h"
#include "../../csrc/ops/squared_norm/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

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

template <class T> void optimizer(Harness& h) {
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
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(16, size_t{1} << 20), true), test(std::vector<size_t>(200, 1'400'000), true);
}

const Registered registered("optimizer", [](Harness& h) { optimizer<float>(h), optimizer<double>(h); });

}  // namespace
