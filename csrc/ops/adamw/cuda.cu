#include <cmath>

#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> struct Scalars {
  T gradient_scale, first_share, beta2, second_share, keep, step_size, root_scale, epsilon;
};

template <class T>
__global__ void update(cuda::Blocks gradients, const RawView* parameters, const RawView* firsts, const RawView* seconds, Scalars<T> s) {
  const auto [k, begin, end] = gradients.part(blockIdx.x);
  const T* gradient = static_cast<const T*>(gradients.items[k].data);
  T *parameter = static_cast<T*>(parameters[k].data), *first = static_cast<T*>(firsts[k].data), *second = static_cast<T*>(seconds[k].data);
  for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const T g = gradient[i] * s.gradient_scale;
    const T m = fma(g - first[i], s.first_share, first[i]), v = fma(g * g, s.second_share, second[i] * s.beta2);
    first[i] = m;
    second[i] = v;
    parameter[i] = parameter[i] * s.keep - s.step_size * m / fma(sqrt(v), s.root_scale, s.epsilon);
  }
}

constexpr size_t kBlock = 2048;

}  // namespace

KERNEL_REAL(cuda, AdamW) {
  if (op.step < 1) return fail(stream, "INVALID_ARGUMENT", "adamw: step must be at least 1");
  if (!(op.beta1 >= 0 && op.beta1 < 1 && op.beta2 >= 0 && op.beta2 < 1))
    return fail(stream, "INVALID_ARGUMENT", "adamw: beta1 and beta2 must be in [0, 1)");
  const ViewList<T>* others[] = {&op.parameters, &op.firstMoments, &op.secondMoments};
  for (const auto* list : others) {
    bool agree = list->size == op.gradients.size;
    for (size_t k = 0; agree && k < list->size; k++) agree = list->items[k].size == op.gradients.items[k].size;
    if (!agree) return fail(stream, "SHAPE_MISMATCH", "adamw: parameters and moments must be as long as gradients, tensor by tensor");
  }
  const size_t count = op.gradients.size;
  const cuda::Lists lists(stream, op.gradients.items, count, kBlock);
  if (lists.total() == 0) return;
  cuda::Temporary<RawView> tables(stream, 3 * count);
  std::vector<RawView> table;
  for (const auto* list : others) table.insert(table.end(), list->items, list->items + count);
  tables.fill_from(table.data(), 3 * count);
  const double first_correction = 1 - std::pow(op.beta1, op.step), second_correction = 1 - std::pow(op.beta2, op.step);
  const auto real = [](double x) { return static_cast<T>(x); };
  const Scalars<T> scalars{real(op.gradientScale),
                           real(1 - op.beta1),
                           real(op.beta2),
                           real(1 - op.beta2),
                           real(1 - op.learningRate * op.weightDecay),
                           real(op.learningRate / first_correction),
                           real(1 / std::sqrt(second_correction)),
                           real(op.epsilon)};
  cuda::launch(stream, update<T>, static_cast<unsigned>(lists.total()), cuda::kThreads, lists.blocks(), tables.get(), tables.get() + count, tables.get() + 2 * count, scalars);
}

}  // namespace g2rpo
