#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> struct Average {
  T share;
  template <class W> __device__ void operator()(size_t, size_t, const W& value, T& average) const { average = fma(cuda::widened(value) - average, share, average); }
};

struct Exchange {
  template <class W> __device__ void operator()(size_t, size_t, W& a, W& b) const {
    const W held = a;
    a = b, b = held;
  }
};

}  // namespace

KERNEL_WEIGHT(cuda, Ema) {
  if (!(op.decay >= 0 && op.decay <= 1)) return fail(stream, "INVALID_ARGUMENT", "ema: decay must be in [0, 1]");
  if (!lists_agree(stream, op.kName, "averages", op.averages, op.values)) return;
  cuda::map_lists(stream, Average<T>{static_cast<T>(1 - op.decay)}, op.values, op.averages);
}

KERNEL_WEIGHT(cuda, EmaExchange) {
  if (!lists_agree(stream, op.kName, "b", op.b, op.a)) return;
  cuda::map_lists(stream, Exchange{}, op.a, op.b);
}

}  // namespace g2rpo
