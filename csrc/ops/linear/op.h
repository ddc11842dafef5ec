#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Elements that a packed weight [N, K] takes at most, whatever the instruction set. */
constexpr size_t packed_weight_size(size_t n, size_t k) { return (n + 64) * k; }

/** What stands in the last element of a packed weight, which panels never reach: those of another type lie differently. A weight without elements has none. */
template <class T, class W> constexpr uint32_t kPackedMark = 0x67327061u + sizeof(T) * 16 + sizeof(W);

/** Whether weights of bf16 gain by being packed on this machine, which is where they become pairs. */
bool packs_bf16();

/** Elements along K of a packed weight: of pairs half as many. */
G2_INLINE size_t packed_depth(size_t k, bool of_bf16) { return of_bf16 && packs_bf16() ? (k + 1) / 2 : k; }

/** W as products of this instruction set read it. */
template <class T, class W = T> struct PackWeight {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "pack_weight";
  static constexpr auto kSignature = "weight {f32|f64|bf16}[N,K] -> packed {f32|f64}[N+64,K]";
  View<const W> weight;
  View<T> packed;
  G2_INLINE static PackWeight read(KernelArgs a) { return {a.next(), a.next()}; }
};

/** y = x·Wᵀ + bias + residual; y may be the residual itself. */
template <class T, class W = T> struct Linear {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "linear";
  static constexpr auto kSignature =
      "x {f32|f64}[M,K], weight {f32|f64|bf16}[N,K], packed {f32|f64}[N+64,K]?, bias {f32|f64}[N]?, residual "
      "{f32|f64}[M,N]? -> y {f32|f64}[M,N]";
  View<const T> x;
  View<const W> weight;
  /** the weight as PackWeight has left it; it is then not looked at */
  View<const T> packed;
  View<const T> bias;
  View<const T> residual;
  View<T> y;
  // For calls from C++:
  /** x in bf16, in its place: on a GPU whose weight is bf16 */
  const bf16* narrow_x = nullptr;
  /** y in bf16, in its place: there too, without bias and residual */
  bf16* narrow_y = nullptr;
  G2_INLINE static Linear read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** dX = dY·W, or dX += dY·W. */
template <class T, class W = T> struct LinearBackwardInput {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "linear_backward_input";
  static constexpr auto kSignature =
      "dY {f32|f64}[M,N], weight {f32|f64|bf16}[N,K] -> dX {f32|f64}[M,K]";
  View<const T> dY;
  View<const W> weight;
  View<T> dX;
  /** dX += instead of dX = */
  bool accumulate = false;
  /** dY in bf16, in its place: on a GPU whose weight is bf16 */
  const bf16* narrow_dY = nullptr;
  /** dX in bf16, in its place: there too, and nothing is added to */
  bf16* narrow_dX = nullptr;
  G2_INLINE static LinearBackwardInput read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** dWeight += dYᵀ·x, dBias += the column sums of dY, each where it is wanted. */
template <class T> struct LinearBackwardWeight {
  using Real = T;
  static constexpr auto kName = "linear_backward_weight";
  static constexpr auto kSignature =
      "dY {f32|f64}[M,N], x {f32|f64}[M,K], &dWeight {f32|f64}[N,K]?, &dBias {f32|f64}[N]?, inBf16 bool ->";
  View<const T> dY;
  View<const T> x;
  View<T> dWeight;
  View<T> dBias;
  /** operands may be rounded to bf16: those of a policy whose weights are (tensor cores of a GPU want them so, and CPUs that multiply bf16) */
  bool in_bf16 = false;
  // For calls from C++:
  /** dWeight = instead of dWeight += */
  bool overwrite = false;
  /** both operands in bf16, in their place: on a GPU */
  const bf16 *narrow_dY = nullptr, *narrow_x = nullptr;
  G2_INLINE static LinearBackwardWeight read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
