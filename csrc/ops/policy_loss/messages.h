// What every backend says of a token whose loss is not finite.
#pragma once
#include <stdio.h>

#include "op.h"

namespace g2rpo {

struct TokenMessage {
  char text[256];
  /** The last two are told of where there is a KL term. */
  TokenMessage(size_t token, double log_prob, double old_log_prob, double advantage, double weight, bool kl, double ref_log_prob, double kl_weight) {
    char term[96] = "";
    if (kl) snprintf(term, sizeof term, ", refLogProb %g, klWeight %g", ref_log_prob, kl_weight);
    snprintf(text, sizeof text, "policy_loss: token %zu has no finite loss (logProb %g, oldLogProb %g, advantage %g, weight %g%s)", token, log_prob,
             old_log_prob, advantage, weight, term);
  }
};

}  // namespace g2rpo
