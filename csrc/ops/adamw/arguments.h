// What an AdamW update asks of its scalars, whatever computes it and however moments are kept.
#pragma once
#include "../../core/checks.h"

namespace g2rpo {

/** Reports what is wrong with the op's scalars; false if there was something. */
template <class Op> G2_INLINE bool update_arguments_hold(Stream& stream, const Op& op) {
  const char* wanted = op.step < 1 ? "step must be at least 1"
                       : op.firstPlace < 0 || op.firstElement < 0 ? "firstPlace and firstElement must be at least 0"
                       : !(op.beta1 >= 0 && op.beta1 < 1 && op.beta2 >= 0 && op.beta2 < 1) ? "beta1 and beta2 must be in [0, 1)"
                                                                                            : nullptr;
  if (!wanted) return true;
  char message[160];
  __builtin_snprintf(message, sizeof message, "%s: %s", Op::kName, wanted);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

/** Of tensor k of the op's lists, among all that are moved: its random words depend on it. */
template <class Op> G2_INLINE size_t place_of(const Op& op, size_t k) { return static_cast<size_t>(op.firstPlace) + k; }

/** Of element i of one of the op's lists, in the tensor that it is a piece of. */
template <class Op> G2_INLINE size_t element_of(const Op& op, size_t i) { return static_cast<size_t>(op.firstElement) + i; }

}  // namespace g2rpo
