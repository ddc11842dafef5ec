#include "bf16_gemm.h"

#include "blas.h"
#include "tensor_pipeline.cuh"
#include "thin_product.h"

namespace g2rpo::cuda {

namespace {

/** W elements to a thread. */
template <int W> __global__ void round_packs(const float* from, size_t count, bf16* to) {
  const size_t i = global_index() * W;
  if (i >= count) return;
  if constexpr (W == 1) {
    to[i].bits = static_cast<uint16_t>(pack_bf16(from[i], 0));
  } else {
    const auto low = load<4>(from + i), high = load<4>(from + i + 4);
    *reinterpret_cast<uint4*>(to + i) = {pack_bf16(low.x[0], low.x[1]), pack_bf16(low.x[2], low.x[3]), pack_bf16(high.x[0], high.x[1]), pack_bf16(high.x[2], high.x[3])};
  }
}

/** Of operands in bf16. */
template <class A, class B> BlasProduct by_blas(const TensorProduct<A, B>& p) {
  BlasProduct product{DType::bf16, p.m, p.n, p.k, p.a, p.b, p.a_along, p.b_along, p.c};
  if (p.narrow_c) product.c = p.narrow_c, product.c_type = DType::bf16;
  product.bias = p.bias, product.added = p.accumulate ? p.c : p.residual;
  return product;
}

/** An operand as bf16: itself, or a copy that lives for the launch. */
template <class T> struct Narrow {
  Narrow(Stream& stream, const T* from, size_t count) : held(stream, count) { round_elements(stream, from, count, held.get()); }
  const bf16* get() const { return held.get(); }
  Temporary<bf16> held;
};
template <> struct Narrow<bf16> {
  Narrow(Stream&, const bf16* from, size_t) : from(from) {}
  const bf16* get() const { return from; }
  const bf16* from;
};

}  // namespace

void round_elements(Stream& stream, const float* from, size_t count, bf16* to) {
  if (count == 0) return;
  if (count % 8 == 0 && aligned(from, to)) launch(stream, round_packs<8>, blocks_for(count / 8), kThreads, from, count, to);
  else launch(stream, round_packs<1>, blocks_for(count), kThreads, from, count, to);
}

template <class A, class B> void multiply(Stream& stream, const TensorProduct<A, B>& p) {
  if (p.m == 0 || p.n == 0) return;
  const bool thin = std::is_same_v<B, bf16> && p.m <= kThinRows && p.a_along && p.b_along && p.k > 0 && p.k % 8 == 0 && aligned(p.a, p.b);
  const bool whole = by_blas(p).whole() && p.k > 0, library = whole && !thin && goes_to_blas(stream, by_blas(p));
  if (p.narrow_c && !library) {
    const Temporary<float> c(stream, p.m * p.n);
    TensorProduct<A, B> wide = p;
    wide.c = c.get(), wide.narrow_c = nullptr;
    multiply(stream, wide);
    return round_elements(stream, c.get(), p.m * p.n, p.narrow_c);
  }
  if constexpr (std::is_same_v<B, bf16>)
    if (thin) return multiply_thin(stream, p);
  if (!whole) return tensor_multiply(stream, p);
  const Narrow<A> a(stream, p.a, p.m * p.k);
  const Narrow<B> b(stream, p.b, p.n * p.k);
  const TensorProduct<bf16, bf16> narrow{p.m, p.n, p.k, a.get(), b.get(), p.a_along, p.b_along, p.c, p.bias, p.residual, p.accumulate, p.narrow_c};
  if (library) multiply_by_blas(stream, by_blas(narrow));
  else multiply_pipelined(stream, narrow);
}
template void multiply(Stream&, const TensorProduct<float, bf16>&);
template void multiply(Stream&, const TensorProduct<float, float>&);
template void multiply(Stream&, const TensorProduct<bf16, bf16>&);

}  // namespace g2rpo::cuda
