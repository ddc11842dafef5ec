#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Softmax over E experts, of which a row goes through the A most probable; of equals the lower one. Fills `chosen`. */
template <class T> struct Router {
  using Real = T;
  static constexpr auto kName = "router";
  static constexpr auto kSignature =
      "logits {f32|f64}[R,E], &chosen i32[R,A], normalise bool -> weights {f32|f64}[R,A]";
  View<const T> logits;
  View<int32_t> chosen;
  bool normalise;
  View<T> weights;
  G2_INLINE static Router read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** Its gradient with respect to the logits. */
template <class T> struct RouterBackward {
  using Real = T;
  static constexpr auto kName = "router_backward";
  static constexpr auto kSignature =
      "dWeights {f32|f64}[R,A], logits {f32|f64}[R,E], chosen i32[R,A], weights {f32|f64}[R,A], normalise bool -> dLogits "
      "{f32|f64}[R,E]";
  View<const T> dWeights;
  View<const T> logits;
  View<const int32_t> chosen;
  View<const T> weights;
  bool normalise;
  View<T> dLogits;
  G2_INLINE static RouterBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** Pairs r·A + a by expert, then by row; the place where each expert begins goes to `starts`. */
struct ExpertGroups {
  static constexpr auto kName = "expert_groups";
  static constexpr auto kSignature =
      "chosen i32[R,A], &starts i32[E+1] -> order i32[R,A], rows i32[R,A]";
  View<const int32_t> chosen;
  View<int32_t> starts;
  View<int32_t> order;
  View<int32_t> rows;
  G2_INLINE static ExpertGroups read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
