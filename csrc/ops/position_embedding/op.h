#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** x += the learned position table, bilinear with aligned corners, for grids (t, h, w) of patches in merge order. */
template <class T> struct PositionEmbedding {
  using Real = T;
  static constexpr auto kName = "position_embedding";
  static constexpr auto kSignature =
      "grids i32[I,3], table {f32|f64}[E,H], &x {f32|f64}[P,H], merge i32 ->";
  View<const int32_t> grids;
  View<const T> table;
  View<T> x;
  int32_t merge;
  G2_INLINE static PositionEmbedding read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** dTable += the gradient of PositionEmbedding, in the order of patches. */
template <class T> struct PositionEmbeddingBackward {
  using Real = T;
  static constexpr auto kName = "position_embedding_backward";
  static constexpr auto kSignature =
      "grids i32[I,3], dX {f32|f64}[P,H], &dTable {f32|f64}[E,H], merge i32 ->";
  View<const int32_t> grids;
  View<const T> dX;
  View<T> dTable;
  int32_t merge;
  G2_INLINE static PositionEmbeddingBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
