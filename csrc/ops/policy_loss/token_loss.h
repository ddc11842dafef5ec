// The loss of one token, for a vector of tokens at a time; policy_loss and head_policy_loss share it. Hot files only.
#pragma once
#include "../../backends/cpu/simd.h"
#include "op.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** The scalars of a policy loss, rounded to the type of its arithmetic. */
template <class T> struct TokenLoss {
  bool ppo;
  T lowest;   // 1 − clipLow
  T highest;  // 1 + clipHigh
  T dual;     // 0: no dual bound

  G2_INLINE TokenLoss(int32_t kind, double clipLow, double clipHigh, double clipDual)
      : ppo(kind == static_cast<int32_t>(PolicyLossKind::ppo)), lowest(static_cast<T>(1 - clipLow)),
        highest(static_cast<T>(1 + clipHigh)), dual(static_cast<T>(clipDual)) {}

  /** What is wrong with the scalars, or null. */
  G2_INLINE static const char* problem(int32_t kind, double clipLow, double clipHigh, double clipDual) {
    if (kind != static_cast<int32_t>(PolicyLossKind::reinforce) && kind != static_cast<int32_t>(PolicyLossKind::ppo))
      return "kind must be 0 (reinforce) or 1 (ppo)";
    if (!(clipLow >= 0 && clipLow <= 1)) return "clipLow must be in [0, 1]";
    if (!(clipHigh >= 0)) return "clipHigh must be at least 0";
    if (!(clipDual == 0 || clipDual > 1)) return "clipDual must be 0 (off) or greater than 1";
    return nullptr;
  }

  struct Result {
    Vec<T> loss, slope;  // of logProbs, before the token's weight
    Mask<T> clipped;
  };

  G2_INLINE Result operator()(Vec<T> logProb, Vec<T> oldLogProb, Vec<T> advantage) const {
    if (!ppo) return {-advantage * logProb, -advantage, Mask<T>{}};
    const Vec<T> zero{}, limit = splat<T>(20);
    const Vec<T> d = logProb - oldLogProb;
    const Vec<T> ratio = exp(d > limit ? limit : d < -limit ? -limit : d);  // NaN stays NaN
    const Vec<T> open = -advantage * ratio;
    const Vec<T> cut = -advantage * min(max(ratio, splat<T>(lowest)), splat<T>(highest));
    const Mask<T> is_cut = open < cut;
    Vec<T> loss = is_cut ? cut : open;
    Vec<T> slope = is_cut || d > limit || d < -limit ? zero : open;
    Mask<T> clipped = is_cut ? Mask<T>{} + 1 : Mask<T>{};
    if (dual > 0) {
      const Vec<T> bound = -advantage * dual;
      const Mask<T> is_bound = (advantage < zero) & (loss > bound);
      loss = is_bound ? bound : loss;
      slope = is_bound ? zero : slope;
      clipped = is_bound ? Mask<T>{} + 2 : clipped;
    }
    return {loss, slope, clipped};
  }
};

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
