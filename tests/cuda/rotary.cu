#include "../../csrc/ops/rotary/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T> void rotary(Harness& h) {
  const auto test = [&](size_t rows, size_t heads, size_t half, bool timing, size_t more = 0) {
    const size_t stride = heads * 2 * half + more;
    std::vector<int32_t> places(3 * rows), axes(half);
    for (size_t i = 0; i < places.size(); i++) places[i] = static_cast<int32_t>(i * 7919 % 40000);
    for (size_t f = 0; f < half; f++) axes[f] = static_cast<int32_t>(f % 3);
    Array<int32_t> positions(std::move(places)), axis(std::move(axes));
    std::vector<T> frequencies(half);
    for (size_t f = 0; f < half; f++) frequencies[f] = static_cast<T>(std::pow(5e6, -static_cast<double>(f) / static_cast<double>(half)));
    Array<T> frequency(std::move(frequencies));
    auto cosine = zeros<T>(rows * half), sine = zeros<T>(rows * half), x = randoms<T>(rows * stride, 1);
    const std::function<RotaryTable<T>(Side)> table = [&](Side s) {
      return RotaryTable<T>{positions.view(s, 3, rows), axis.view(s), frequency.view(s), cosine.view(s, rows, half), sine.view(s, rows, half)};
    };
    bool inverse = false;
    const std::function<Rotary<T>(Side)> rotate = [&](Side s) {
      return Rotary<T>{cosine.view(s, rows, half), sine.view(s, rows, half), x.view(s, rows, heads, 2 * half), inverse, more ? stride : 0};
    };
    const std::string size = " " + std::to_string(rows) + " x " + std::to_string(heads) + " x " + std::to_string(2 * half) + (more ? ", rows apart" : "");
    if (timing) {
      h.time<RotaryTable<T>>(typed<T>("rotary_table") + size, 2.0 * static_cast<double>(rows * half * sizeof(T)), table);
      h.time<Rotary<T>>(typed<T>("rotary") + size, static_cast<double>((4 * heads + 2) * rows * half * sizeof(T)), rotate);
      return;
    }
    h.on_both<RotaryTable<T>>(table);
    h.close(typed<T>("rotary_table") + size + ": cosine", cosine, kTolerance<T>);
    h.close(typed<T>("rotary_table") + size + ": sine", sine, kTolerance<T>);
    h.on_both<Rotary<T>>(rotate);
    h.close(typed<T>("rotary") + size, x, kTolerance<T>);
    inverse = true;
    auto narrow_x = zeros<bf16>(rows * stride);
    if constexpr (sizeof(T) == 4) {
      auto op = rotate(Side::device);
      op.narrow_x = narrow_x.at(Side::device);
      h.on_device(op);
    }
    h.on_both<Rotary<T>>(rotate);
    h.close(typed<T>("rotary") + size + ", back", x, kTolerance<T>);
    if constexpr (sizeof(T) == 4) {
      const auto wide = x.download();
      const auto narrowed = narrow_x.download();
      size_t wrong = 0;  // what stands between rows is not touched
      for (size_t i = 0; i < wide.size(); i++) wrong += narrowed[i].bits != (i % stride < heads * 2 * half ? narrow(wide[i]).bits : 0);
      h.expect(wrong == 0, "rotary" + size + ", in bf16: " + std::to_string(wrong) + " are not what they are to be");
    }
  };
  test(0, 2, 4, false), test(1, 1, 1, false), test(33, 5, 33, false), test(50, 6, 64, false), test(50, 6, 64, false, 128), test(20, 3, 36, false, 2), test(2050, 1, 8, false);
  auto table = zeros<T>(8);
  Array<int32_t> positions(std::vector<int32_t>(8)), axis(std::vector<int32_t>{0, 1, 2, -1});
  auto frequency = zeros<T>(4);
  for (const size_t rows : {2, 0})
    h.both_refuse<RotaryTable<T>>(typed<T>("rotary_table") + " of an axis that is none, " + std::to_string(rows) + " rows", "INVALID_ARGUMENT", [&](Side s) {
      return RotaryTable<T>{positions.view(s, 2, rows), axis.view(s), frequency.view(s), table.view(s, rows, 4), table.view(s, rows, 4)};
    });
  if (sizeof(T) == 4 && h.timed()) test(8192, 16, 64, true), test(8192, 32, 64, true), test(8192, 8, 64, true);
}

const Registered registered("rotary", [](Harness& h) { rotary<float>(h), rotary<double>(h); });

}  // namespace
