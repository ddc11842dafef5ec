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

/** C becomes what the product is added to. */
__global__ void begin_sums(Product<float> p) {
  const size_t i = global_index();
  if (i < p.m * p.n) put(p, i / p.n, i % p.n, 0.0f);
}

void multiply_by_blas(Stream& stream, const TensorProduct<bf16, bf16>& p) {
  const bool in_place = p.residual == p.c && !p.bias && !p.accumulate;
  if ((p.bias || p.residual) && !in_place) launch(stream, begin_sums, blocks_for(p.m * p.n), kThreads, p.written());
  multiply_by_blas(stream, BlasProduct{DType::bf16, p.m, p.n, p.k, p.a, p.b, p.a_along, p.b_along, p.c, p.accumulate || p.bias || p.residual});
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
  if constexpr (std::is_same_v<B, bf16>)
    if (p.m <= kThinRows && p.a_along && p.b_along && p.k > 0 && p.k % 8 == 0 && aligned(p.a, p.b)) return multiply_thin(stream, p);
  const BlasProduct shape{DType::bf16, p.m, p.n, p.k, p.a, p.b, p.a_along, p.b_along, p.c, false};
  if (!shape.whole() || p.k == 0) return tensor_multiply(stream, p);
  const Narrow<A> a(stream, p.a, p.m * p.k);
  const Narrow<B> b(stream, p.b, p.n * p.k);
  const TensorProduct<bf16, bf16> narrow{p.m, p.n, p.k, a.get(), b.get(), p.a_along, p.b_along, p.c, p.bias, p.residual, p.accumulate};
  if (has_blas(stream)) multiply_by_blas(stream, narrow);
  else multiply_pipelined(stream, narrow);
}
template void multiply(Stream&, const TensorProduct<float, bf16>&);
template void multiply(Stream&, const TensorProduct<float, float>&);
template void multiply(Stream&, const TensorProduct<bf16, bf16>&);

}  // namespace g2rpo::cuda
