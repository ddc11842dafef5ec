#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** rounded = values to the nearest bf16, for all tensors. */
struct RoundBf16 {
  static constexpr auto kName = "round_bf16";
  static constexpr auto kSignature = "values f32[N]*, &rounded bf16[N]* ->";
  ViewList<const float> values;
  ViewList<bf16> rounded;
  G2_INLINE static RoundBf16 read(KernelArgs a) { return {a.next(), a.next()}; }
};

}  // namespace g2rpo
