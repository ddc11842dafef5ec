// What a head asks of its arguments, whatever computes it.
#pragma once
#include "op.h"

namespace g2rpo {

/** What is said of a token whose logits, loss or slope are no numbers. */
struct FiniteMessage {
  char text[128];
  G2_INLINE FiniteMessage(const char* kernel, const char* what, size_t token) {
    __builtin_snprintf(text, sizeof text, "%s: %s of token %zu is not finite", kernel, what, token);
  }
};

/** Reports a temperature that cannot divide logits; false if it is one. */
template <class Op> G2_INLINE bool temperature_holds(Stream& stream, const Op& op) {
  if (op.temperature > 0 && op.temperature < __builtin_inf()) return true;
  char message[128];
  __builtin_snprintf(message, sizeof message, "%s: temperature must be positive and finite; got %g", Op::kName, op.temperature);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

}  // namespace g2rpo
