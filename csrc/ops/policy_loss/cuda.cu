#include "arguments.h"
#include "messages.h"
#include "token_loss.cuh"

namespace g2rpo {

namespace {

/** What the message of a token tells, as f32: lists that are not there have none. */
template <class T> struct Told {
  const T *log_probs, *old_log_probs, *advantages, *weights, *ref_log_probs, *kl_weights;
  static __device__ int32_t bits(const T* list, size_t i) { return __float_as_int(list ? static_cast<float>(list[i]) : 0.0f); }
};

template <class T> __global__ void losses(cuda::TokenLosses<T> a, Told<T> told, cuda::Refusal refusal) {
  const size_t i = cuda::global_index();
  if (i >= a.n || cuda::write_loss(a, i)) return;
  const auto bits = [&](const T* list) { return Told<T>::bits(list, i); };
  refusal.at(i, bits(told.log_probs), bits(told.old_log_probs), bits(told.advantages), bits(told.weights), bits(told.ref_log_probs), bits(told.kl_weights));
}

}  // namespace

KERNEL_REAL(cuda, PolicyLoss) {
  if (!loss_arguments_hold(stream, op)) return;
  const size_t n = op.logProbs.size;
  if (n == 0) return;
  const bool kl = op.klKind != static_cast<int32_t>(KlKind::none);
  const auto refusal = cuda::refusal(stream, "NON_FINITE", [kl](size_t i, const int32_t (&v)[DeviceQueue::kValues]) -> std::string {
    const auto number = [&](int k) { return static_cast<double>(__builtin_bit_cast(float, v[k])); };
    return TokenMessage(i, number(0), number(1), number(2), number(3), kl, number(4), number(5)).text;
  });
  const Told<T> told{op.logProbs.data, op.oldLogProbs ? op.oldLogProbs.data : op.logProbs.data, op.advantages.data, op.weights.data,
                     kl ? op.refLogProbs.data : nullptr, kl ? op.klWeights.data : nullptr};
  cuda::launch(stream, losses<T>, cuda::blocks_for(n), cuda::kThreads, cuda::token_losses<T>(op, n, op.logProbs.data, op.dLogProbs.data), told, refusal);
}

}  // namespace g2rpo
