// Products by cuBLASLt, NVIDIA's library, where the machine has it; looked for when the first product asks for it.
#pragma once
#include <string>

#include "../../core/stream.h"

namespace g2rpo::cuda {

/** `words`: the file that was loaded and its version, or why none was. The environment's G2RPO_CUBLASLT is the file to load, or off. */
struct BlasFound {
  bool loaded;
  std::string words;
  bool named = false;  // by G2RPO_CUBLASLT, which asks for no other
};
const BlasFound& blas_found();

/**
 * C = A·B + bias + added by rows as Product, A and B both f32 or both bf16, their products added in f32. C is f32, or bf16 where there is neither
 * bias nor anything `added`.
 */
struct BlasProduct {
  DType type;
  size_t m, n, k;
  const void *a, *b;
  bool a_along, b_along;
  void* c;
  DType c_type = DType::f32;
  const float *bias = nullptr, *added = nullptr;  // `added` may be c

  /** Rows of all three matrices are made of pieces of 16 bytes and begin at such: what the library is asked for. */
  bool whole() const;
};

/** Whether products of this stream go to the library: it is there, and the queue has not been told to leave it alone. */
bool has_blas(const Stream&);
/** And whether it has an algorithm for this one; always the same answer for the same shape. */
bool goes_to_blas(Stream&, const BlasProduct&);

/** One that goes there. The same bits for the same shape: one algorithm for it, without additions whose order is that of blocks. @throws DEVICE_FAILED */
void multiply_by_blas(Stream&, const BlasProduct&);

}  // namespace g2rpo::cuda
