#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** One AdamW update of all tensors in place, decoupled weight decay, bias correction by step (from 1); the gradient is multiplied by gradientScale first. Parameters of bf16 are rounded at random, tensor k by the words of place firstPlace + k, from element firstElement on. */
template <class T, class W = T> struct AdamW {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "adamw";
  static constexpr auto kSignature =
      "gradients {f32|f64}[N]*, &parameters {f32|f64|bf16}[N]*, &firstMoments {f32|f64}[N]*, &secondMoments "
      "{f32|f64}[N]*, learningRate f64, beta1 f64, beta2 f64, epsilon f64, weightDecay f64, step i32, "
      "gradientScale f64, firstPlace i32, firstElement i32 ->";
  ViewList<const T> gradients;
  ViewList<W> parameters;
  ViewList<T> firstMoments;
  ViewList<T> secondMoments;
  double learningRate;
  double beta1;
  double beta2;
  double epsilon;
  double weightDecay;
  int32_t step;
  double gradientScale;
  int32_t firstPlace = 0;
  int32_t firstElement = 0;
  G2_INLINE static AdamW read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
