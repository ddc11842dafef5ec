#include "arguments.h"
#include "token_loss.cuh"

namespace g2rpo {

namespace {

template <class T> __global__ void losses(cuda::TokenLosses<T> a, cuda::Refusal refusal) {
  const size_t i = cuda::global_index();
  if (i < a.n && !cuda::write_loss(a, i)) refusal.at(i);
}

}  // namespace

KERNEL_REAL(cuda, PolicyLoss) {
  if (!loss_arguments_hold(stream, op)) return;
  const size_t n = op.logProbs.size;
  if (n == 0) return;
  cuda::launch(stream, losses<T>, cuda::blocks_for(n), cuda::kThreads, cuda::token_losses<T>(op, n, op.logProbs.data, op.dLogProbs.data),
               cuda::refusal(stream, "NON_FINITE", "policy_loss: a token has no finite loss"));
}

}  // namespace g2rpo
