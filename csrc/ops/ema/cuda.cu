#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> struct Average {
  T share;
  __device__ void operator()(const T (&in)[2], T (&out)[1]) const { out[0] = fma(in[0] - in[1], share, in[1]); }
};

struct Exchange {
  template <class T> __device__ void operator()(const T (&in)[2], T (&out)[2]) const { out[0] = in[1], out[1] = in[0]; }
};

}  // namespace

KERNEL_REAL(cuda, Ema) {
  if (!(op.decay >= 0 && op.decay <= 1)) return fail(stream, "INVALID_ARGUMENT", "ema: decay must be in [0, 1]");
  if (!lists_agree(stream, op.kName, "averages", op.averages, op.values)) return;
  cuda::map_lists<T, 1>(stream, Average<T>{static_cast<T>(1 - op.decay)}, op.values, op.averages);
}

KERNEL_REAL(cuda, EmaExchange) {
  if (!lists_agree(stream, op.kName, "b", op.b, op.a)) return;
  cuda::map_lists<T, 2>(stream, Exchange{}, op.a, op.b);
}

}  // namespace g2rpo
