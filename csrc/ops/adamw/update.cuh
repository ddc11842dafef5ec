// One AdamW update on the device, for kernels that keep moments in different ways.
#pragma once
#include <cmath>

#include "../../backends/cuda/lists.h"
#include "arguments.h"

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

  /** Moves both moments, and gives the new parameter. */
  __device__ T step(T gradient, T parameter, T& first, T& second) const {
    const T g = gradient * gradient_scale;
    first = fma(g - first, first_share, first);
    second = fma(g * g, second_share, second * beta2);
    return parameter * keep - step_size * first / fma(sqrt(second), root_scale, epsilon);
  }
};

}  // namespace g2rpo
