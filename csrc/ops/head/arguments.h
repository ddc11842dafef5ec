// What a head asks of its temperature, whatever computes it.
#pragma once
#include <stdio.h>

#include "op.h"

namespace g2rpo {

/** Reports a temperature that cannot divide logits; false if it is one. */
template <class Op> G2_INLINE bool temperature_holds(Stream& stream, const Op& op) {
  if (op.temperature > 0 && op.temperature < __builtin_inf()) return true;
  char message[128];
  snprintf(message, sizeof message, "%s: temperature must be positive and finite; got %g", Op::kName, op.temperature);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

}  // namespace g2rpo
