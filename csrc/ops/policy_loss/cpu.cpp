// hot
// One pass over the tokens; the loss itself is token_loss.h, which head_policy_loss shares.
#include <stdio.h>

#include "op.h"
#include "token_loss.h"

namespace g2rpo {

namespace {
constexpr size_t kBlock = 4096;  // tokens per item of the pool
}

KERNEL_REAL(cpu, PolicyLoss) {
  constexpr size_t w = simd::lanes<T>;
  if (const char* problem = simd::TokenLoss<T>::problem(op.kind, op.clipLow, op.clipHigh, op.clipDual)) {
    char message[96];
    snprintf(message, sizeof message, "policy_loss: %s", problem);
    return fail(stream, "INVALID_ARGUMENT", message);
  }
  const simd::TokenLoss<T> token_loss(op.kind, op.clipLow, op.clipHigh, op.clipDual);
  const size_t n = op.logProbs.size;
  parallel_for(stream, (n + kBlock - 1) / kBlock, [&](size_t block) {
    const size_t end = (block + 1) * kBlock < n ? (block + 1) * kBlock : n;
    for (size_t i = block * kBlock; i < end; i += w) {
      const size_t m = end - i < w ? end - i : w;
      const auto weight = simd::load_n<T>(op.weights.data + i, m);
      const auto r = token_loss(simd::load_n<T>(op.logProbs.data + i, m), simd::load_n<T>(op.oldLogProbs.data + i, m),
                                simd::load_n<T>(op.advantages.data + i, m));
      simd::store_n<T>(op.loss.data + i, weight * r.loss, m);
      simd::store_n<T>(op.dLogProbs.data + i, weight * r.slope, m);
      for (size_t k = 0; k < m; k++) op.clipped[i + k] = static_cast<int32_t>(r.clipped[k]);
    }
  });
  for (size_t i = 0; i < n; i++) {
    const T sum = op.loss[i] + op.dLogProbs[i];
    if (sum - sum == 0) continue;
    char message[160];
    snprintf(message, sizeof message, "policy_loss: token %zu has no finite loss (logProb %g, oldLogProb %g, advantage %g, weight %g)",
             i, static_cast<double>(op.logProbs[i]), static_cast<double>(op.oldLogProbs[i]),
             static_cast<double>(op.advantages[i]), static_cast<double>(op.weights[i]));
    return fail(stream, "NON_FINITE", message);
  }
}

}  // namespace g2rpo
