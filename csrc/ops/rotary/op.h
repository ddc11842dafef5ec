#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Cosine and sine of positions[axis[i], s] · inverseFrequency[i]: interleaved M-RoPE with A = 3, the vision tower with A = 2. */
template <class T> struct RotaryTable {
  using Real = T;
  static constexpr auto kName = "rotary_table";
  static constexpr auto kSignature =
      "positions i32[A,S], axis i32[F], inverseFrequency {f32|f64}[F] -> cosine {f32|f64}[S,F], sine "
      "{f32|f64}[S,F]";
  View<const int32_t> positions;
  View<const int32_t> axis;
  View<const T> inverseFrequency;
  View<T> cosine;
  View<T> sine;
  G2_INLINE static RotaryTable read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** Rotates every head of x in place: halves (x1, x2) become (x1·c − x2·s, x2·c + x1·s); inverse turns back, which is also the gradient. D = 2F. */
template <class T> struct Rotary {
  using Real = T;
  static constexpr auto kName = "rotary";
  static constexpr auto kSignature =
      "cosine {f32|f64}[S,F], sine {f32|f64}[S,F], &x {f32|f64}[S,N,2*F], inverse bool ->";
  View<const T> cosine;
  View<const T> sine;
  View<T> x;
  bool inverse;
  /** elements from one row s to the next; 0: N·D */
  size_t row_stride = 0;
  /** what becomes of x in bf16, which then stays as it is; rows as far apart: on a GPU */
  bf16* narrow_x = nullptr;
  G2_INLINE static Rotary read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
