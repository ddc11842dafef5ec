// hot, of pairs
// Products by the instruction that multiplies pairs of bf16 numbers: A is rounded while it is packed, and so is B where it is f32.
#include "gemm_tiles.h"

namespace g2rpo {

using NarrowGemm = Gemm<float, bf16>;

KERNEL(cpu, NarrowGemm) {
  if (op.exact) product<float>(stream, op);
  else product<simd::Pair>(stream, op);
}

KERNEL(cpu, RoundedGemm) { product<simd::Pair>(stream, op.wide); }

}  // namespace g2rpo
