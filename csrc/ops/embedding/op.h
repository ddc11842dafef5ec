#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Row ids[s] of the table; −1 stands for a row that something else fills, and gives zeros. */
template <class T, class W = T> struct Embedding {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "embedding";
  static constexpr auto kSignature =
      "ids i32[S], table {f32|f64|bf16}[V,H] -> x {f32|f64}[S,H]";
  View<const int32_t> ids;
  View<const W> table;
  View<T> x;
  G2_INLINE static Embedding read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** dTable[ids[s]] += dX[s], in the order of s; rows of −1 are left out. */
template <class T> struct EmbeddingBackward {
  using Real = T;
  static constexpr auto kName = "embedding_backward";
  static constexpr auto kSignature =
      "ids i32[S], dX {f32|f64}[S,H], &dTable {f32|f64}[V,H] ->";
  View<const int32_t> ids;
  View<const T> dX;
  View<T> dTable;
  G2_INLINE static EmbeddingBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
