#include <numeric>

#include "../../csrc/ops/adamw/op.h"
#include "../../csrc/ops/adamw8bit/op.h"
#include "../../csrc/ops/ema/op.h"
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
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 100003}, false), test({4096, 8, 20000, 4100}, false);
  Role<T> a(zeros<T>(5), {5}), b(zeros<T>(5), {2, 3});
  h.both_refuse<AdamW<T>>(typed<T>("adamw") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) {
    return AdamW<T>{a.template list<const T>(s), b.template list<T>(s), a.template list<T>(s), a.template list<T>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 0.5};
  });
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(16, size_t{1} << 20), true), test(std::vector<size_t>(200, 1'400'000), true);
}

/** A moment that is rounded otherwise by its last bit may fall on the neighbour of a code: one in a thousand, and no further. */
void codes_close(Harness& h, const std::string& name, Array<uint8_t>& codes) {
  const auto& wanted = codes.host();
  const auto got = codes.download();
  size_t others = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    h.expect(std::abs(got[i] - wanted[i]) <= 1, name + ": " + std::to_string(i) + " is " + std::to_string(got[i]) + ", the CPU says " + std::to_string(wanted[i]));
    others += got[i] != wanted[i];
  }
  h.expect(others <= 1 + wanted.size() / 1000, name + ": " + std::to_string(others) + " of " + std::to_string(wanted.size()) + " codes are others than the CPU's");
  std::printf("ok    %-64s %zu elements, %zu on the neighbouring code\n", name.c_str(), wanted.size(), others);
}

template <class T> void adamw8bit(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    std::vector<size_t> blocks;
    for (const size_t n : sizes) blocks.push_back((n + 255) / 256);
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0}), b = std::accumulate(blocks.begin(), blocks.end(), size_t{0});
    Role<T> gradients(randoms<T>(n, 1), sizes), parameters(randoms<T>(n, 2), sizes);
    Role<uint8_t> first(zeros<uint8_t>(n), sizes), second(zeros<uint8_t>(n), sizes);
    Role<float> first_scales(zeros<float>(b), blocks), second_scales(zeros<float>(b), blocks);
    int32_t step = 1;
    const std::function<Adamw8bit<T>(Side)> update = [&](Side s) {
      return Adamw8bit<T>{gradients.template list<const T>(s), parameters.template list<T>(s), first.template list<uint8_t>(s), second.template list<uint8_t>(s),
                          first_scales.template list<float>(s), second_scales.template list<float>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, step, 0.5};
    };
    const std::string name = typed<T>("adamw8bit") + " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) return h.time<Adamw8bit<T>>(name, (3.0 * sizeof(T) + 4) * static_cast<double>(n), update);
    for (; step <= 3; step++) {
      const std::string at = name + ", step " + std::to_string(step);
      h.on_both<Adamw8bit<T>>(update);
      h.close(at + ": parameters", parameters.all, kTolerance<T>);
      codes_close(h, at + ": codes of first moments", first.all);
      codes_close(h, at + ": codes of second moments", second.all);
      h.close(at + ": scales of first moments", first_scales.all, 1e-6);
      h.close(at + ": scales of second moments", second_scales.all, 1e-6);
      parameters.all.upload(), first.all.upload(), second.all.upload(), first_scales.all.upload(), second_scales.all.upload();
    }
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 10003}, false), test({512, 4096, 264}, false);
  Role<T> a(zeros<T>(300), {300});
  Role<uint8_t> codes(zeros<uint8_t>(300), {300});
  Role<float> scales(zeros<float>(1), {1});
  const auto op = [&](Side s, double beta1) {
    return Adamw8bit<T>{a.template list<const T>(s), a.template list<T>(s), codes.template list<uint8_t>(s), codes.template list<uint8_t>(s),
                        scales.template list<float>(s), scales.template list<float>(s), 1e-3, beta1, 0.999, 1e-8, 0.1, 3, 0.5};
  };
  h.both_refuse<Adamw8bit<T>>(typed<T>("adamw8bit") + " of missing scales", "SHAPE_MISMATCH", [&](Side s) { return op(s, 0.9); });
  h.both_refuse<Adamw8bit<T>>(typed<T>("adamw8bit") + " of beta 1", "INVALID_ARGUMENT", [&](Side s) { return op(s, 1); });
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(200, 1'400'000), true);
}

template <class T> void ema(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    Role<T> values(randoms<T>(n, 1), sizes), averages(randoms<T>(n, 2), sizes);
    const std::function<Ema<T>(Side)> update = [&](Side s) { return Ema<T>{values.template list<const T>(s), averages.template list<T>(s), 0.99}; };
    const std::function<EmaExchange<T>(Side)> exchange = [&](Side s) { return EmaExchange<T>{values.template list<T>(s), averages.template list<T>(s)}; };
    const std::string size = " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) {
      h.time<Ema<T>>(typed<T>("ema") + size, 3.0 * static_cast<double>(n * sizeof(T)), update);
      h.time<EmaExchange<T>>(typed<T>("ema_exchange") + size, 4.0 * static_cast<double>(n * sizeof(T)), exchange);
      return;
    }
    h.on_both<Ema<T>>(update);
    h.close(typed<T>("ema") + size, averages.all, kTolerance<T>);
    h.on_both<EmaExchange<T>>(exchange);
    h.close(typed<T>("ema_exchange") + size + ": a", values.all, kTolerance<T>);
    h.close(typed<T>("ema_exchange") + size + ": b", averages.all, kTolerance<T>);
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 10003}, false), test({4096, 8, 20000}, false);
  Role<T> a(zeros<T>(5), {5}), b(zeros<T>(5), {2, 3});
  h.both_refuse<Ema<T>>(typed<T>("ema") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) { return Ema<T>{a.template list<const T>(s), b.template list<T>(s), 0.9}; });
  h.both_refuse<Ema<T>>(typed<T>("ema") + " of decay 2", "INVALID_ARGUMENT", [&](Side s) { return Ema<T>{a.template list<const T>(s), a.template list<T>(s), 2}; });
  h.both_refuse<EmaExchange<T>>(typed<T>("ema_exchange") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) { return EmaExchange<T>{a.template list<T>(s), b.template list<T>(s)}; });
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(200, 1'400'000), true);
}

const Registered registered_8bit("adamw8bit", [](Harness& h) { adamw8bit<float>(h), adamw8bit<double>(h); });
const Registered registered_ema("ema", [](Harness& h) { ema<float>(h), ema<double>(h); });
const Registered registered("optimizer", [](Harness& h) { optimizer<float>(h), optimizer<double>(h); });

}  // namespace
