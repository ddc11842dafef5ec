#include "gemm.h"

namespace g2rpo {

namespace {

template <class Op> void multiply_now(Stream& stream, const Op& op) {
  static const KernelEntry* const kernel = find_kernel(Op::kName, Backend::cpu, variant_of<Op>());
  kernel->run(stream, &op);
}

}  // namespace

bool rounding_pays() {
  static const bool pays = find_kernel(RoundedGemm<>::kName, Backend::cpu, variant_of<RoundedGemm<>>()) != nullptr;
  return pays;
}

void multiply(Stream& stream, const Gemm<float>& op) { multiply_now(stream, op); }
void multiply(Stream& stream, const Gemm<double>& op) { multiply_now(stream, op); }
void multiply(Stream& stream, const Gemm<float, bf16>& op) { multiply_now(stream, op); }
void multiply(Stream& stream, const RoundedGemm<>& op) { multiply_now(stream, op); }
void multiply(Stream& stream, const RoundedGemm<bf16>& op) { multiply_now(stream, op); }

}  // namespace g2rpo
