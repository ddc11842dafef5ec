// What sampling asks of its arguments, and what it says of a row that has no token, whatever computes it.
#pragma once
#include "../../core/stream.h"
#include "op.h"

namespace g2rpo {

constexpr int32_t kNotFinite = -1, kNothingAllowed = -2;  // in place of a token

/** What is wrong with the scalars, or null. */
G2_INLINE const char* sampling_problem(double temperature, int32_t top_k, double top_p, double repetition_penalty) {
  if (!(temperature >= 0 && temperature < __builtin_inf())) return "temperature must be at least 0 and finite";
  if (top_k < 0) return "topK must be at least 0";
  if (!(top_p > 0 && top_p <= 1)) return "topP must be in (0, 1]";
  if (!(repetition_penalty > 0 && repetition_penalty < __builtin_inf())) return "repetitionPenalty must be positive and finite";
  return nullptr;
}

/** Reports what is wrong with the op's scalars; false if there was something. */
template <class Op> G2_INLINE bool sampling_arguments_hold(Stream& stream, const Op& op) {
  const char* const problem = sampling_problem(op.temperature, op.topK, op.topP, op.repetitionPenalty);
  if (!problem) return true;
  char message[128];
  __builtin_snprintf(message, sizeof message, "%s: %s", Op::kName, problem);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

/** What divides by the temperature, in the type of the logits: finite and not 0, so that a difference of 0 stays 0 and an infinite one infinite. */
template <class T> G2_INLINE T scale_of(double temperature) {
  constexpr double kLeast = sizeof(T) == 4 ? 1.2e-38 : 2.3e-308, kMost = sizeof(T) == 4 ? 3.4e38 : 1.7e308;
  const double scale = 1 / temperature;
  return static_cast<T>(scale < kLeast ? kLeast : scale > kMost ? kMost : scale);
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
