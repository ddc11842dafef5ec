#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/**
 * C = A·B, or C += A·B; A and B are read through any strides, so that transposes need no copy. B may be kept in bf16: the bits of C are those of
 * B widened, but for an instruction set that multiplies bf16 by bf16 (avx512bf16): it rounds A unless that is to be `exact`. Only there A may be kept in bf16 too (RoundedGemm).
 */
template <class T, class W = T, class A = T> struct Gemm {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "gemm";
  static constexpr auto kSignature =
      "a {f32|f64}[M,K], b {f32|f64|bf16}[K,N] -> c {f32|f64}[M,N]";
  View<const A> a;
  View<const W> b;
  View<T> c;
  // For calls from C++: element strides of a row and of a column step; 0 means contiguous as the signature says.
  size_t m = c.dim[0], n = c.dim[1], k = a.dim[1];
  size_t a_row = k, a_col = 1, b_row = n, b_col = 1, c_row = n;
  bool accumulate = false;
  /** A is not rounded, whatever B is kept in */
  bool exact = false;
  /** added to every row of C if present: [N] */
  const T* bias = nullptr;
  /** added to C if present: [M, N] with row stride c_row; may be C itself */
  const T* residual = nullptr;
  /** sums over k of the rows of A are added to it if present: [M]; only where these lie next to each other (a_row 1) */
  T* sums = nullptr;
  /** B as an earlier call of the same kind left it in its `pack_to`, on this machine; b is then not looked at */
  const T* packed = nullptr;
  /** nothing is computed: B is laid out here for calls with `packed`; holds (n + 64) · k elements, which is enough for panels of any instruction set */
  T* pack_to = nullptr;
  G2_INLINE static Gemm read(KernelArgs a) {
    return {a.next(), a.next(), a.next()};
  }
};

/** The same of operands that are both rounded to bf16, or kept in it, where an instruction set multiplies such numbers faster; no other has this kernel. */
template <class A = float> struct RoundedGemm {
  static constexpr auto kName = __is_same(A, float) ? "gemm_rounded" : "gemm_rounded_weight";
  static constexpr auto kSignature = "";
  const Gemm<float, float, A>& wide;
  static RoundedGemm read(KernelArgs a) { return {Gemm<float, float, A>::read(a)}; }
};
/** Whether there is one here. */
bool rounding_pays();

/** The product as a part of another kernel, whose time it is; for hot files, which may share no template. In an item of a loop it keeps to its thread. */
void multiply(Stream&, const Gemm<float>&);
void multiply(Stream&, const Gemm<double>&);
void multiply(Stream&, const Gemm<float, bf16>&);
void multiply(Stream&, const RoundedGemm<>&);
void multiply(Stream&, const RoundedGemm<bf16>&);

}  // namespace g2rpo
