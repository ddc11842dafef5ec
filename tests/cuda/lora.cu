#include "../../csrc/ops/lora/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

template <class T, class W = T> void lora(Harness& h) {
  const auto test = [&](size_t m, size_t n, size_t k, size_t r, bool timing) {
    auto base = randoms<W>(n * k, 1);
    auto a = randoms<T>(r * k, 2), b = randoms<T>(n * r, 3), merged = zeros<T>(n * k);
    auto dY = randoms<T>(m * n, 4, 0.1), x = randoms<T>(m * k, 5, 0.1), dA = randoms<T>(r * k, 6), dB = randoms<T>(n * r, 7);
    const std::function<LoraMerge<T, W>(Side)> merge = [&](Side s) { return LoraMerge<T, W>{base.view(s, n, k), a.view(s, r, k), b.view(s, n, r), merged.view(s, n, k), 0.5}; };
    const std::function<LoraBackward<T>(Side)> backward = [&](Side s) {
      return LoraBackward<T>{dY.view(s, m, n), x.view(s, m, k), a.view(s, r, k), b.view(s, n, r), dA.view(s, r, k), dB.view(s, n, r), 0.5};
    };
    const std::string size = " " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + ", rank " + std::to_string(r);
    if (timing) {
      h.time<LoraMerge<T, W>>(typed<T, W>("lora_merge") + size, static_cast<double>(n * k * (sizeof(W) + sizeof(T))), merge);
      if (!std::is_same_v<T, W>) return;
      h.time<LoraBackward<T>>(typed<T>("lora_backward") + size, 2.0 * static_cast<double>(m * (n + k) * sizeof(T)), backward);
      return;
    }
    h.on_both<LoraMerge<T, W>>(merge);
    h.close(typed<T, W>("lora_merge") + size, merged, kTolerance<T>);
    if (!std::is_same_v<T, W>) return;  // the backward pass knows no other weights
    h.on_both<LoraBackward<T>>(backward);
    h.close(typed<T>("lora_backward") + size + ": dA", dA, 10 * kTolerance<T>);  // sums of sums, over columns and rows
    h.close(typed<T>("lora_backward") + size + ": dB", dB, 10 * kTolerance<T>);
    if (m == 300) h.repeats<LoraBackward<T>, T>(typed<T>("lora_backward") + size, dA, backward), h.repeats<LoraBackward<T>, T>(typed<T>("lora_backward") + size, dB, backward);
  };
  test(0, 8, 4, 2, false), test(1, 1, 1, 1, false), test(5, 33, 7, 3, false), test(33, 64, 140, 16, false), test(300, 36, 128, 20, false), test(9, 2050, 12, 8, false), test(8200, 8, 4, 2, false);
  if (sizeof(T) == 4 && h.timed()) test(8192, 2048, 2048, 16, true), test(8192, 4096, 4096, 16, true), test(8192, 2048, 2048, 64, true);
}

const Registered registered("lora", [](Harness& h) { lora<float>(h), lora<double>(h), lora<float, bf16>(h); });

}  // namespace
