// hot
#include "op.h"

#include "../../backends/cpu/lists.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, AdamW) {
  if (op.step < 1) return fail(stream, "INVALID_ARGUMENT", "adamw: step must be at least 1");
  if (!(op.beta1 >= 0 && op.beta1 < 1 && op.beta2 >= 0 && op.beta2 < 1))
    return fail(stream, "INVALID_ARGUMENT", "adamw: beta1 and beta2 must be in [0, 1)");
  if (!lists_agree(stream, op.kName, "parameters", op.parameters, op.gradients) ||
      !lists_agree(stream, op.kName, "firstMoments", op.firstMoments, op.gradients) ||
      !lists_agree(stream, op.kName, "secondMoments", op.secondMoments, op.gradients))
    return;
  const double first_correction = 1 - __builtin_pow(op.beta1, op.step), second_correction = 1 - __builtin_pow(op.beta2, op.step);
  const Vec<T> gradient_scale = splat(static_cast<T>(op.gradientScale));
  const Vec<T> first_share = splat(static_cast<T>(1 - op.beta1));
  const Vec<T> beta2 = splat(static_cast<T>(op.beta2)), second_share = splat(static_cast<T>(1 - op.beta2));
  const Vec<T> keep = splat(static_cast<T>(1 - op.learningRate * op.weightDecay));
  const Vec<T> step_size = splat(static_cast<T>(op.learningRate / first_correction));
  const Vec<T> root_scale = splat(static_cast<T>(1 / __builtin_sqrt(second_correction)));
  const Vec<T> epsilon = splat(static_cast<T>(op.epsilon));
  Scratch scratch;
  ListBlocks(op.gradients.items, op.gradients.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    const T* gradient = op.gradients[k].data;
    T *parameter = op.parameters[k].data, *first = op.firstMoments[k].data, *second = op.secondMoments[k].data;
    for_lanes<T>(begin, end, [&](size_t i, auto at) G2_INLINED {
      const Vec<T> g = at.load(gradient + i) * gradient_scale;
      Vec<T> m = at.load(first + i), v = at.load(second + i);
      m = fma(g - m, first_share, m);
      v = fma(g * g, second_share, v * beta2);
      at.store(first + i, m);
      at.store(second + i, v);
      const Vec<T> change = step_size * m / fma(sqrt(v), root_scale, epsilon);
      at.store(parameter + i, at.load(parameter + i) * keep - change);
    });
  });
}

}  // namespace g2rpo
