// One AdamW update on the device, for kernels that keep moments in different ways.
#pragma once
#include <cmath>
#include <type_traits>

#include "../../backends/cuda/lists.h"
#include "arguments.h"
#include "rounding.cuh"

namespace g2rpo {

/** An op's scalars, rounded to the type of its arithmetic. */
template <class T> struct UpdateScalars {
  T gradient_scale, first_share, beta2, second_share, keep, step_size, root_scale, epsilon;

  template <class Op>
  explicit UpdateScalars(const Op& op)
      : gradient_scale(static_cast<T>(op.gradientScale)), first_share(static_cast<T>(1 - op.beta1)), beta2(static_cast<T>(op.beta2)),
        second_share(static_cast<T>(1 - op.beta2)), keep(static_cast<T>(1 - op.learningRate * op.weightDecay)),
        step_size(static_cast<T>(op.learningRate / (1 - std::pow(op.beta1, op.step)))),
        root_scale(static_cast<T>(1 / std::sqrt(1 - std::pow(op.beta2, op.step)))), epsilon(static_cast<T>(op.epsilon)) {}

  /** Moves both moments and the parameter; one of bf16 is rounded by what random() gives. */
  template <class W, class F> __device__ void step(T gradient, W& parameter, T& first, T& second, F&& random) const {
    const T g = gradient * gradient_scale;
    first = fma(g - first, first_share, first);
    second = fma(g * g, second_share, second * beta2);
    const T moved = cuda::widened(parameter) * keep - step_size * first / fma(sqrt(second), root_scale, epsilon);
    if constexpr (std::is_same_v<W, T>) parameter = moved;
    else parameter = rounded_at_random(moved, mixed(random() ^ 0x5bd1e995u));  // another word than that of the moments' roundings
  }
};

}  // namespace g2rpo
