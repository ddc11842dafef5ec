// How adamw8bit keeps moments, and what it asks of its arguments, whatever computes it.
#pragma once
#include "../adamw/arguments.h"
#include "op.h"

namespace g2rpo {

constexpr size_t kScaled = 256;      // elements that share a scale
constexpr float kTop = 1.875f;       // of the largest code
constexpr float kRandoms = 1 << 20;  // roundings are decided by 20 bits, the upper 16 of them random
constexpr uint32_t kFirstOffset = 896, kSecondOffset = 768;  // 4 and 5 bits of exponent that end at 2⁰

/** Reports what is wrong with the op's scalars and lists; false if there was something. */
template <class Op> G2_INLINE bool arguments_hold(Stream& stream, const Op& op) {
  if (!update_arguments_hold(stream, op)) return false;
  if (!lists_agree(stream, op.kName, "parameters", op.parameters, op.gradients) ||
      !lists_agree(stream, op.kName, "firstCodes", op.firstCodes, op.gradients) ||
      !lists_agree(stream, op.kName, "secondCodes", op.secondCodes, op.gradients) ||
      !lists_agree(stream, op.kName, "secondScales", op.secondScales, op.firstScales))
    return false;
  bool scaled = op.firstScales.size == op.gradients.size;
  for (size_t k = 0; scaled && k < op.gradients.size; k++)
    scaled = op.firstScales.items[k].size == (op.gradients.items[k].size + kScaled - 1) / kScaled;
  if (!scaled) fail(stream, "SHAPE_MISMATCH", "adamw8bit: firstScales must hold one number for every 256 elements of each tensor");
  return scaled;
}

}  // namespace g2rpo
