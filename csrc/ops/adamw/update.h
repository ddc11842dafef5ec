// One AdamW update, for kernels that keep moments in different ways: adamw and adamw8bit share it. Hot files only.
#pragma once
#include "../../backends/cpu/lists.h"
#include "../../backends/cpu/rows.h"
#include "arguments.h"
#include "rounding.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** An op's scalars, rounded to the type of its arithmetic, and what they do to elements. */
template <class T> struct AdamWUpdate {
  Vec<T> gradient_scale, first_share, beta2, second_share, keep, step_size, root_scale, epsilon;

  template <class Op>
  G2_INLINE explicit AdamWUpdate(const Op& op)
      : gradient_scale(splat(static_cast<T>(op.gradientScale))), first_share(splat(static_cast<T>(1 - op.beta1))),
        beta2(splat(static_cast<T>(op.beta2))), second_share(splat(static_cast<T>(1 - op.beta2))),
        keep(splat(static_cast<T>(1 - op.learningRate * op.weightDecay))),
        step_size(splat(static_cast<T>(op.learningRate / (1 - __builtin_pow(op.beta1, op.step))))),
        root_scale(splat(static_cast<T>(1 / __builtin_sqrt(1 - __builtin_pow(op.beta2, op.step))))),
        epsilon(splat(static_cast<T>(op.epsilon))) {}

  /** n elements of one tensor and of its moments, of which the first is element `from`. */
  G2_INLINE void apply(const T* gradient, T* parameter, T* first, T* second, size_t n, size_t, const RoundingWords&) const {
    for_lanes<T>(0, n, [&](size_t i, auto at) G2_INLINED {
      const Vec<T> g = at.load(gradient + i) * gradient_scale;
      Vec<T> m = at.load(first + i), v = at.load(second + i);
      m = fma(g - m, first_share, m);
      v = fma(g * g, second_share, v * beta2);
      at.store(first + i, m);
      at.store(second + i, v);
      const Vec<T> change = step_size * m / fma(sqrt(v), root_scale, epsilon);
      at.store(parameter + i, at.load(parameter + i) * keep - change);
    });
  }
  /** The same where parameters are bf16: each becomes one of the two neighbours of what it should be, at random. */
  G2_INLINE void apply(const T* gradient, bf16* parameter, T* first, T* second, size_t n, size_t from, const RoundingWords& random) const {
    constexpr size_t piece = 256;
    alignas(64) float wide[piece] = {};
    alignas(64) bf16 rounded[piece];
    for (size_t at = 0; at < n; at += piece) {
      const size_t count = n - at < piece ? n - at : piece;
      copy_row(wide, parameter + at, count);
      apply(gradient + at, wide, first + at, second + at, count, 0, random);
      // another word than that of the moments' roundings
      for (size_t i = 0; i < count; i += kWords) store_rounded(rounded + i, load(wide + i), mixed(random.at(from + at + i) ^ 0x5bd1e995u));
      __builtin_memcpy(parameter + at, rounded, count * sizeof(bf16));
    }
  }
};

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
