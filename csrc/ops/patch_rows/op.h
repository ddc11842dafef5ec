#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** Rows of patches, (channel, time, y, x) each and in merge order, of pictures and videos whose frames are bytes, by a table of what a byte becomes. */
template <class T> struct PatchRows {
  using Real = T;
  static constexpr auto kName = "patch_rows";
  static constexpr auto kSignature =
      "pixels u8[N]*, grids i32[I,3], values f32[3,256], &rows {f32|f64}[P,W], patch i32, merge i32 ->";
  ViewList<const uint8_t> pixels;
  View<const int32_t> grids;
  View<const float> values;
  View<T> rows;
  int32_t patch, merge;
  G2_INLINE static PatchRows read(KernelArgs a) { return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next()}; }
};

}  // namespace g2rpo
