#include "op.h"
#include "update.cuh"

namespace g2rpo {

namespace {

template <class T> struct Update {
  UpdateScalars<T> scalars;
  RoundingWords random;
  template <class W> __device__ void operator()(size_t k, size_t i, const T& gradient, W& parameter, T& first, T& second) const {
    scalars.step(gradient, parameter, first, second, [&] { return random.of_element(random.of_tensor(k), i); });
  }
};

}  // namespace

KERNEL_WEIGHT(cuda, AdamW) {
  if (!update_arguments_hold(stream, op)) return;
  if (!lists_agree(stream, op.kName, "parameters", op.parameters, op.gradients) ||
      !lists_agree(stream, op.kName, "firstMoments", op.firstMoments, op.gradients) ||
      !lists_agree(stream, op.kName, "secondMoments", op.secondMoments, op.gradients))
    return;
  cuda::map_lists(stream, Update<T>{UpdateScalars<T>(op), RoundingWords(op)}, op.gradients, op.parameters, op.firstMoments, op.secondMoments);
}

}  // namespace g2rpo
