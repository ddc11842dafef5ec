// hot
// One pass over the tokens, one more for a KL term; the loss itself is token_loss.h, which head_policy_loss shares.
#include "messages.h"
#include "op.h"
#include "token_loss.h"

namespace g2rpo {

namespace {
constexpr size_t kBlock = 4096;  // tokens per item of the pool
}

KERNEL_REAL(cpu, PolicyLoss) {
  if (!loss_arguments_hold(stream, op)) return;
  const simd::TokenLoss<T> token_loss(op);
  const size_t n = op.logProbs.size;
  parallel_for(stream, (n + kBlock - 1) / kBlock, [&](size_t block) {
    const size_t end = (block + 1) * kBlock < n ? (block + 1) * kBlock : n;
    simd::token_losses<T>(token_loss, op.logProbs.data, block * kBlock, end, op.loss.data, op.dLogProbs.data, op.clipped.data);
  });
  for (size_t i = 0; i < n; i++) {
    const T sum = op.loss[i] + op.dLogProbs[i];
    if (sum - sum == 0) continue;
    const auto at = [&](const View<const T>& list) { return static_cast<double>(list[i]); };
    const bool kl = token_loss.kl != KlKind::none;
    const TokenMessage message(i, at(op.logProbs), at(op.oldLogProbs ? op.oldLogProbs : op.logProbs), at(op.advantages), at(op.weights), kl,
                               kl ? at(op.refLogProbs) : 0, kl ? at(op.klWeights) : 0);
    return fail(stream, "NON_FINITE", message.text);
  }
}

}  // namespace g2rpo
