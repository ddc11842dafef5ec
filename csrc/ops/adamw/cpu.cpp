// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, AdamW) {
  if (op.step < 1) return fail(stream, "INVALID_ARGUMENT", "adamw: step must be at least 1");
  if (!(op.beta1 >= 0 && op.beta1 < 1 && op.beta2 >= 0 && op.beta2 < 1))
    return fail(stream, "INVALID_ARGUMENT", "adamw: beta1 and beta2 must be in [0, 1)");
  const double first_correction = 1 - __builtin_pow(op.beta1, op.step), second_correction = 1 - __builtin_pow(op.beta2, op.step);
  const Vec<T> gradient_scale = splat(static_cast<T>(op.gradientScale));
  const Vec<T> first_share = splat(static_cast<T>(1 - op.beta1));
  const Vec<T> beta2 = splat(static_cast<T>(op.beta2)), second_share = splat(static_cast<T>(1 - op.beta2));
  const Vec<T> keep = splat(static_cast<T>(1 - op.learningRate * op.weightDecay));
  const Vec<T> step_size = splat(static_cast<T>(op.learningRate / first_correction));
  const Vec<T> root_scale = splat(static_cast<T>(1 / __builtin_sqrt(second_correction)));
  const Vec<T> epsilon = splat(static_cast<T>(op.epsilon));
  for_elements<T>(stream, op.parameter.size, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> g = at.load(op.gradient.data + i) * gradient_scale;
    Vec<T> m = at.load(op.firstMoment.data + i), v = at.load(op.secondMoment.data + i);
    m = fma(g - m, first_share, m);
    v = fma(g * g, second_share, v * beta2);
    at.store(op.firstMoment.data + i, m);
    at.store(op.secondMoment.data + i, v);
    const Vec<T> change = step_size * m / fma(sqrt(v), root_scale, epsilon);
    at.store(op.parameter.data + i, at.load(op.parameter.data + i) * keep - change);
  });
}

}  // namespace g2rpo
