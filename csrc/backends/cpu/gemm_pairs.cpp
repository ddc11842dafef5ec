// hot, of pairs
// Products by the instruction that multiplies pairs of bf16 numbers: A and B are rounded while they are packed where they are f32.
#include "gemm_tiles.h"

namespace g2rpo {

using NarrowGemm = Gemm<float, bf16>;

KERNEL(cpu, NarrowGemm) {
  if (op.exact) product<float>(stream, op);
  else product<simd::Pair>(stream, op);
}

using RoundedReals = RoundedGemm<>;
using RoundedWeight = RoundedGemm<bf16>;

KERNEL(cpu, RoundedReals) { product<simd::Pair>(stream, op.wide); }
KERNEL(cpu, RoundedWeight) { product<simd::Pair>(stream, op.wide); }

}  // namespace g2rpo
