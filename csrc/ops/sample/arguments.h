// What sampling asks of its arguments, and what it says of a row that has no token, whatever computes it.
#pragma once
#include "../../core/stream.h"
#include "op.h"

namespace g2rpo {

constexpr int32_t kNotFinite = -1, kNothingAllowed = -2;  // in place of a token

/** Reports what is wrong with the op's scalars; false if there was something. */
template <class Op> G2_INLINE bool sampling_arguments_hold(Stream& stream, const Op& op) {
  const char* problem = nullptr;
  if (!(op.temperature >= 0 && op.temperature < __builtin_inf())) problem = "temperature must be at least 0 and finite";
  else if (op.topK < 0) problem = "topK must be at least 0";
  else if (!(op.topP > 0 && op.topP <= 1)) problem = "topP must be in (0, 1]";
  else if (!(op.repetitionPenalty > 0 && op.repetitionPenalty < __builtin_inf())) problem = "repetitionPenalty must be positive and finite";
  if (!problem) return true;
  char message[128];
  __builtin_snprintf(message, sizeof message, "%s: %s", Op::kName, problem);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

struct RowMessage {
  char text[128];
  G2_INLINE RowMessage(const char* kernel, size_t row, int32_t token) {
    if (token == kNotFinite)
      __builtin_snprintf(text, sizeof text, "%s: row %zu of logits holds NaN or +infinity, or nothing but -infinity", kernel, row);
    else __builtin_snprintf(text, sizeof text, "%s: no id of row %zu has a probability and is allowed", kernel, row);
  }
};

}  // namespace g2rpo
