#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** x[rows[k]] = features[source[k]]. */
template <class T> struct VisualSplice {
  using Real = T;
  static constexpr auto kName = "visual_splice";
  static constexpr auto kSignature =
      "features {f32|f64}[P,H], rows i32[K], source i32[K], &x {f32|f64}[S,H] ->";
  View<const T> features;
  View<const int32_t> rows;
  View<const int32_t> source;
  View<T> x;
  G2_INLINE static VisualSplice read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** x[rows[k]] += features[source[k]]; no row occurs twice. */
template <class T> struct DeepstackAdd {
  using Real = T;
  static constexpr auto kName = "deepstack_add";
  static constexpr auto kSignature =
      "features {f32|f64}[P,H], rows i32[K], source i32[K], &x {f32|f64}[S,H] ->";
  View<const T> features;
  View<const int32_t> rows;
  View<const int32_t> source;
  View<T> x;
  G2_INLINE static DeepstackAdd read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** The gradient of both: dFeatures[source[k]] += dX[rows[k]], in the order of k. */
template <class T> struct VisualGather {
  using Real = T;
  static constexpr auto kName = "visual_gather";
  static constexpr auto kSignature =
      "dX {f32|f64}[S,H], rows i32[K], source i32[K], &dFeatures {f32|f64}[P,H] ->";
  View<const T> dX;
  View<const int32_t> rows;
  View<const int32_t> source;
  View<T> dFeatures;
  G2_INLINE static VisualGather read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next()};
  }
};

/** y[k] = x[rows[k]]; a row may occur many times. */
template <class T> struct GatherRows {
  using Real = T;
  static constexpr auto kName = "gather_rows";
  static constexpr auto kSignature =
      "x {f32|f64}[S,H], rows i32[K] -> y {f32|f64}[K,H]";
  View<const T> x;
  View<const int32_t> rows;
  View<T> y;
  G2_INLINE static GatherRows read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** dX[rows[k]] += dY[k], in the order of k. */
template <class T> struct GatherRowsBackward {
  using Real = T;
  static constexpr auto kName = "gather_rows_backward";
  static constexpr auto kSignature =
      "dY {f32|f64}[K,H], rows i32[K], &dX {f32|f64}[S,H] ->";
  View<const T> dY;
  View<const int32_t> rows;
  View<T> dX;
  G2_INLINE static GatherRowsBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
