#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** One token per row; see lib/kernels/sample.ts. */
template <class T> struct Sample {
  using Real = T;
  static constexpr auto kName = "sample";
  static constexpr auto kSignature =
      "logits {f32|f64}[B,V], seen u8[B,V]?, allowed u8[V]?, keys i32[B,4], temperature f64, topK i32, "
      "topP f64, repetitionPenalty f64 -> tokens i32[B], logProbs {f32|f64}[B], entropy {f32|f64}[B]";
  View<const T> logits;
  View<const uint8_t> seen;
  View<const uint8_t> allowed;
  View<const int32_t> keys;
  double temperature;
  int32_t topK;
  double topP;
  double repetitionPenalty;
  View<int32_t> tokens;
  View<T> logProbs;
  View<T> entropy;
  G2_INLINE static Sample read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
