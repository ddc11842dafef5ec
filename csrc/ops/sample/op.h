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

/**
 * The same of logits that are not there: those of hidden states, by the weight of a head, for rows that choose without a repetition penalty, top-k
 * and top-p. On the CPU alone and called from C++ alone; a row's bits are those that Sample gives it. Nothing fails: a row without a token has one
 * below 0 (arguments.h).
 */
template <class T, class W = T> struct SampleHead {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "sample_head";
  static constexpr auto kSignature = "";
  View<const T> hidden;  // [S, H]
  View<const W> weight;  // [V, H]
  /** the weight as an earlier call left it in its `pack_to`; it is then not looked at */
  const T* packed = nullptr;
  // Of each row that is drawn, all [B]:
  const int32_t* states = nullptr;          // its hidden state; they do not fall
  const double* temperatures = nullptr;     // 0 takes the largest logit
  const uint8_t* const* allowed = nullptr;  // [V], or null where all ids are
  View<const int32_t> keys{};               // [B, 4]
  View<int32_t> tokens{};
  T *logProbs = nullptr, *entropy = nullptr;
  /** instead, where it is given: all logits, [S, V] */
  T* logits = nullptr;
  /** or the weight is laid out here; holds (V + 64) · H elements */
  T* pack_to = nullptr;
  static SampleHead read(KernelArgs) { return {}; }
};

}  // namespace g2rpo
