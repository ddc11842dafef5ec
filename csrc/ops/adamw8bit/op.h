#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** AdamW with moments of 8 bits, in blocks of 256 elements with a scale each; see lib/kernels/adamw8bit.ts. */
template <class T, class W = T> struct Adamw8bit {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "adamw8bit";
  static constexpr auto kSignature =
      "gradients {f32|f64}[N]*, &parameters {f32|f64|bf16}[N]*, &firstCodes u8[N]*, &secondCodes u8[N]*, "
      "&firstScales f32[B]*, &secondScales f32[B]*, learningRate f64, beta1 f64, beta2 f64, epsilon f64, "
      "weightDecay f64, step i32, gradientScale f64, firstPlace i32, "
      "firstElement i32 ->";
  ViewList<const T> gradients;
  ViewList<W> parameters;
  ViewList<uint8_t> firstCodes;
  ViewList<uint8_t> secondCodes;
  ViewList<float> firstScales;
  ViewList<float> secondScales;
  double learningRate;
  double beta1;
  double beta2;
  double epsilon;
  double weightDecay;
  int32_t step;
  double gradientScale;
  int32_t firstPlace = 0;
  int32_t firstElement = 0;
  G2_INLINE static Adamw8bit read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
