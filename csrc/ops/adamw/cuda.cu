#include "op.h"
#include "update.cuh"

namespace g2rpo {

namespace {

template <class T> struct Update {
  UpdateScalars<T> scalars;
  __device__ void operator()(const T (&in)[4], T (&out)[3]) const {
    out[1] = in[2], out[2] = in[3];
    out[0] = scalars.step(in[0], in[1], out[1], out[2]);
  }
};

}  // namespace

KERNEL_REAL(cuda, AdamW) {
  if (!update_arguments_hold(stream, op)) return;
  if (!lists_agree(stream, op.kName, "parameters", op.parameters, op.gradients) ||
      !lists_agree(stream, op.kName, "firstMoments", op.firstMoments, op.gradients) ||
      !lists_agree(stream, op.kName, "secondMoments", op.secondMoments, op.gradients))
    return;
  cuda::map_lists<T, 3>(stream, Update<T>{UpdateScalars<T>(op)}, op.gradients, op.parameters, op.firstMoments, op.secondMoments);
}

}  // namespace g2rpo
