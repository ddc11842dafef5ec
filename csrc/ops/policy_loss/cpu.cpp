// hot
// One pass over the tokens, one more for a KL term; the loss itself is token_loss.h, which head_policy_loss shares.
#include <stdio.h>

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
    char message[256], term[96] = "";
    if (token_loss.kl != KlKind::none)
      snprintf(term, sizeof term, ", refLogProb %g, klWeight %g", static_cast<double>(op.refLogProbs[i]),
               static_cast<double>(op.klWeights[i]));
    snprintf(message, sizeof message, "policy_loss: token %zu has no finite loss (logProb %g, oldLogProb %g, advantage %g, weight %g%s)",
             i, static_cast<double>(op.logProbs[i]), static_cast<double>((op.oldLogProbs ? op.oldLogProbs : op.logProbs)[i]),
             static_cast<double>(op.advantages[i]), static_cast<double>(op.weights[i]), term);
    return fail(stream, "NON_FINITE", message);
  }
}

}  // namespace g2rpo
