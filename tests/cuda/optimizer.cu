#include <numeric>

#include "../../csrc/ops/adamw/op.h"
#include "../../csrc/ops/adamw8bit/op.h"
#include "../../csrc/ops/ema/op.h"
#include "../../csrc/ops/round_bf16/op.h"
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

/** A parameter that is rounded otherwise by its last bit may fall on the neighbour in bf16: one in a thousand, and no further. */
template <class T> void parameters_close(Harness& h, const std::string& name, Array<T>& parameters) {
  if constexpr (std::is_same_v<T, bf16>) {
    const auto& wanted = parameters.host();
    const auto got = parameters.download();
    size_t others = 0;
    for (size_t i = 0; i < wanted.size(); i++) {
      h.expect(std::abs(got[i].bits - wanted[i].bits) <= 1, name + ": " + std::to_string(i) + " is " + std::to_string(number(got[i])) + ", the CPU says " + std::to_string(number(wanted[i])));
      others += got[i].bits != wanted[i].bits;
    }
    h.expect(others <= 1 + wanted.size() / 1000, name + ": " + std::to_string(others) + " of " + std::to_string(wanted.size()) + " are rounded otherwise than the CPU's");
    std::printf("ok    %-64s %zu elements, %zu rounded otherwise\n", name.c_str(), wanted.size(), others);
  } else {
    h.close(name, parameters, kTolerance<T>);
  }
}

template <class T, class W = T> void optimizer(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    Role<T> gradients(randoms<T>(n, 1), sizes), first(randoms<T>(n, 3, 0.1), sizes), second(randoms<T>(n, 4, 0.0, 0.01), sizes);
    Role<W> parameters(randoms<W>(n, 2), sizes), values(randoms<W>(n, 1), sizes);
    auto sum = zeros<double>(1);
    const std::function<AdamW<T, W>(Side)> update = [&](Side s) {
      return AdamW<T, W>{gradients.template list<const T>(s), parameters.template list<W>(s), first.template list<T>(s), second.template list<T>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 0.5, 70, 300};
    };
    const std::function<SquaredNorm<T, W>(Side)> norm = [&](Side s) { return SquaredNorm<T, W>{values.template list<const W>(s), sum.view(s)}; };
    const std::string size = " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) {
      h.time<AdamW<T, W>>(typed<T, W>("adamw") + size, static_cast<double>(n * (5 * sizeof(T) + 2 * sizeof(W))), update);
      h.time<SquaredNorm<T, W>>(typed<T, W>("squared_norm") + size, static_cast<double>(n * sizeof(W)), norm);
      return;
    }
    h.on_both<AdamW<T, W>>(update);
    parameters_close(h, typed<T, W>("adamw") + size + ": parameters", parameters.all);
    h.close(typed<T, W>("adamw") + size + ": first moments", first.all, kTolerance<T>);
    h.close(typed<T, W>("adamw") + size + ": second moments", second.all, kTolerance<T>);
    h.on_both<SquaredNorm<T, W>>(norm);
    h.close(typed<T, W>("squared_norm") + size, sum, 1e-12);
    if (n > 10000) h.repeats<SquaredNorm<T, W>, double>(typed<T, W>("squared_norm") + size, sum, norm);
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 100003}, false), test({4096, 8, 20000, 4100}, false);
  Role<T> a(zeros<T>(5), {5});
  Role<W> b(zeros<W>(5), {2, 3});
  h.both_refuse<AdamW<T, W>>(typed<T, W>("adamw") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) {
    return AdamW<T, W>{a.template list<const T>(s), b.template list<W>(s), a.template list<T>(s), a.template list<T>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 0.5};
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

template <class T, class W = T> void adamw8bit(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    std::vector<size_t> blocks;
    for (const size_t n : sizes) blocks.push_back((n + 255) / 256);
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0}), b = std::accumulate(blocks.begin(), blocks.end(), size_t{0});
    Role<T> gradients(randoms<T>(n, 1), sizes);
    Role<W> parameters(randoms<W>(n, 2), sizes);
    Role<uint8_t> first(zeros<uint8_t>(n), sizes), second(zeros<uint8_t>(n), sizes);
    Role<float> first_scales(zeros<float>(b), blocks), second_scales(zeros<float>(b), blocks);
    int32_t step = 1;
    const std::function<Adamw8bit<T, W>(Side)> update = [&](Side s) {
      return Adamw8bit<T, W>{gradients.template list<const T>(s), parameters.template list<W>(s), first.template list<uint8_t>(s), second.template list<uint8_t>(s),
                          first_scales.template list<float>(s), second_scales.template list<float>(s), 1e-3, 0.9, 0.999, 1e-8, 0.1, step, 0.5, 70, 512};
    };
    const std::string name = typed<T, W>("adamw8bit") + " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) return h.time<Adamw8bit<T, W>>(name, static_cast<double>(n * (sizeof(T) + 2 * sizeof(W) + 4)), update);
    for (; step <= 3; step++) {
      const std::string at = name + ", step " + std::to_string(step);
      h.on_both<Adamw8bit<T, W>>(update);
      parameters_close(h, at + ": parameters", parameters.all);
      codes_close(h, at + ": codes of first moments", first.all);
      codes_close(h, at + ": codes of second moments", second.all);
      h.close(at + ": scales of first moments", first_scales.all, 1e-6);
      h.close(at + ": scales of second moments", second_scales.all, 1e-6);
      parameters.all.upload(), first.all.upload(), second.all.upload(), first_scales.all.upload(), second_scales.all.upload();
    }
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 10003}, false), test({512, 4096, 264}, false);
  Role<T> a(zeros<T>(300), {300});
  Role<W> b(zeros<W>(300), {300});
  Role<uint8_t> codes(zeros<uint8_t>(300), {300});
  Role<float> scales(zeros<float>(1), {1});
  const auto op = [&](Side s, double beta1) {
    return Adamw8bit<T, W>{a.template list<const T>(s), b.template list<W>(s), codes.template list<uint8_t>(s), codes.template list<uint8_t>(s),
                        scales.template list<float>(s), scales.template list<float>(s), 1e-3, beta1, 0.999, 1e-8, 0.1, 3, 0.5};
  };
  h.both_refuse<Adamw8bit<T, W>>(typed<T, W>("adamw8bit") + " of missing scales", "SHAPE_MISMATCH", [&](Side s) { return op(s, 0.9); });
  h.both_refuse<Adamw8bit<T, W>>(typed<T, W>("adamw8bit") + " of beta 1", "INVALID_ARGUMENT", [&](Side s) { return op(s, 1); });
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(200, 1'400'000), true);
}

template <class T, class W = T> void ema(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    Role<W> values(randoms<W>(n, 1), sizes), others(randoms<W>(n, 3), sizes);
    Role<T> averages(randoms<T>(n, 2), sizes);
    const std::function<Ema<T, W>(Side)> update = [&](Side s) { return Ema<T, W>{values.template list<const W>(s), averages.template list<T>(s), 0.99}; };
    const std::function<EmaExchange<T, W>(Side)> exchange = [&](Side s) { return EmaExchange<T, W>{values.template list<W>(s), others.template list<W>(s)}; };
    const std::string size = " " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) {
      h.time<Ema<T, W>>(typed<T, W>("ema") + size, static_cast<double>(n * (2 * sizeof(T) + sizeof(W))), update);
      h.time<EmaExchange<T, W>>(typed<T, W>("ema_exchange") + size, 4.0 * static_cast<double>(n * sizeof(W)), exchange);
      return;
    }
    h.on_both<Ema<T, W>>(update);
    h.close(typed<T, W>("ema") + size, averages.all, kTolerance<T>);
    h.on_both<EmaExchange<T, W>>(exchange);
    h.close(typed<T, W>("ema_exchange") + size + ": a", values.all, 1e-12);
    h.close(typed<T, W>("ema_exchange") + size + ": b", others.all, 1e-12);
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 10003}, false), test({4096, 8, 20000}, false);
  Role<W> a(zeros<W>(5), {5}), b(zeros<W>(5), {2, 3});
  Role<T> c(zeros<T>(5), {5});
  h.both_refuse<Ema<T, W>>(typed<T, W>("ema") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) { return Ema<T, W>{b.template list<const W>(s), c.template list<T>(s), 0.9}; });
  h.both_refuse<Ema<T, W>>(typed<T, W>("ema") + " of decay 2", "INVALID_ARGUMENT", [&](Side s) { return Ema<T, W>{a.template list<const W>(s), c.template list<T>(s), 2}; });
  h.both_refuse<EmaExchange<T, W>>(typed<T, W>("ema_exchange") + " of lists that differ", "SHAPE_MISMATCH", [&](Side s) { return EmaExchange<T, W>{a.template list<W>(s), b.template list<W>(s)}; });
  if (sizeof(T) == 4 && h.timed()) test(std::vector<size_t>(200, 1'400'000), true);
}

void round_bf16(Harness& h) {
  const auto test = [&](const std::vector<size_t>& sizes, bool timing) {
    const size_t n = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    std::vector<float> numbers = randoms<float>(n, 1).host();
    // ties, what is past the largest, not numbers, zeros of both signs and the least of all
    const uint32_t rare[] = {0x3f808000u, 0x3f818000u, 0x3f808001u, 0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu, 0u, 0x80000000u, 1u, 0x80008001u};
    if (!timing)
      for (size_t i = 0; i < n && i < std::size(rare); i++) std::memcpy(&numbers[n - 1 - i], &rare[i], 4);
    Role<float> values(Array<float>(std::move(numbers)), sizes);
    Role<bf16> rounded(zeros<bf16>(n), sizes);
    const std::function<RoundBf16(Side)> make = [&](Side s) { return RoundBf16{values.list<const float>(s), rounded.list<bf16>(s)}; };
    const std::string name = "round_bf16 " + std::to_string(n) + " in " + std::to_string(sizes.size());
    if (timing) return h.time<RoundBf16>(name, 6.0 * static_cast<double>(n), make);
    h.on_both<RoundBf16>(make);
    h.same(name, rounded.all);
  };
  test({}, false), test({1}, false), test({0, 3, 5000, 0, 2048, 10003}, false), test({4096, 8, 20000}, false);
  Role<float> a(zeros<float>(5), {5});
  Role<bf16> b(zeros<bf16>(5), {2, 3});
  h.both_refuse<RoundBf16>("round_bf16 of lists that differ", "SHAPE_MISMATCH", [&](Side s) { return RoundBf16{a.list<const float>(s), b.list<bf16>(s)}; });
  if (h.timed()) test(std::vector<size_t>(200, 1'400'000), true);
}

const Registered registered_8bit("adamw8bit", [](Harness& h) { adamw8bit<float>(h), adamw8bit<double>(h), adamw8bit<float, bf16>(h); });
const Registered registered_ema("ema", [](Harness& h) { ema<float>(h), ema<double>(h), ema<float, bf16>(h); });
const Registered registered("optimizer", [](Harness& h) { optimizer<float>(h), optimizer<double>(h), optimizer<float, bf16>(h); });
const Registered registered_rounding("round_bf16", round_bf16);

}  // namespace
