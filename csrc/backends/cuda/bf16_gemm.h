// Matrix products in which operands are bf16 or may be rounded to it, with sums in f32.
#pragma once
#include <type_traits>

#include "tensor_gemm.cuh"

namespace g2rpo::cuda {

/** A product of f32 or f64 alone, or one with bf16 in it. */
template <class A, class B> using ProductOf = std::conditional_t<std::is_same_v<A, B> && !std::is_same_v<A, bf16>, Product<A>, TensorProduct<A, B>>;

/** to = from, each the nearest bf16 and of two the even one. */
void round_elements(Stream&, const float* from, size_t count, bf16* to);

/**
 * On tensor cores, by cuBLASLt where it is there and else by our own; what is f32 is rounded to bf16 first. Few rows times a matrix of bf16 that lies
 * along k go through thin_product.h.
 */
template <class A, class B> void multiply(Stream&, const TensorProduct<A, B>&);
extern template void multiply(Stream&, const TensorProduct<float, bf16>&);
extern template void multiply(Stream&, const TensorProduct<float, float>&);
extern template void multiply(Stream&, const TensorProduct<bf16, bf16>&);

}  // namespace g2rpo::cuda
