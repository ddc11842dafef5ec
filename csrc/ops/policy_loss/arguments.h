// What a policy loss asks of its arguments, whatever computes it.
#pragma once
#include "op.h"

namespace g2rpo {

/** Reports what is wrong with the op's scalars and with the lists of its KL term; false if there was something. */
template <class Op> G2_INLINE bool loss_arguments_hold(Stream& stream, const Op& op) {
  const char* wanted = nullptr;
  double came = 0;
  const auto want = [&](bool holds, const char* what, double value) __attribute__((always_inline)) {
    if (holds || wanted) return;
    wanted = what;
    came = value;
  };
  constexpr double infinity = __builtin_inf();
  const bool listed = op.refLogProbs.size == op.advantages.size && op.klWeights.size == op.advantages.size;
  want(op.kind >= 0 && op.kind <= static_cast<int32_t>(PolicyLossKind::sapo),
       "kind must be 0 (reinforce), 1 (ppo), 2 (cispo) or 3 (sapo)", op.kind);
  want(op.clipLow >= 0 && op.clipLow <= 1, "clipLow must be in [0, 1]", op.clipLow);
  want(op.clipHigh >= 0, "clipHigh must be at least 0", op.clipHigh);
  want(op.clipDual == 0 || op.clipDual > 1, "clipDual must be 0 (off) or greater than 1", op.clipDual);
  want(op.tauPositive > 0 && op.tauPositive < infinity, "tauPositive must be positive and finite", op.tauPositive);
  want(op.tauNegative > 0 && op.tauNegative < infinity, "tauNegative must be positive and finite", op.tauNegative);
  want(op.klKind >= 0 && op.klKind <= static_cast<int32_t>(KlKind::k3_plus),
       "klKind must be 0 (none), 1 (k1), 2 (abs), 3 (k2), 4 (k3) or 5 (k3+)", op.klKind);
  want(op.klKind == 0 || listed, "klKind must be 0 (none) where refLogProbs or klWeights is missing", op.klKind);
  if (!wanted) return true;
  char message[192];
  __builtin_snprintf(message, sizeof message, "%s: %s; got %g", Op::kName, wanted, came);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

}  // namespace g2rpo
