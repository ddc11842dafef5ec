// What patch_rows asks of its arguments, in the same words whatever computes it.
#pragma once
#include <string>

#include "../../core/grids.h"
#include "op.h"

namespace g2rpo {

constexpr size_t kChannels = 3;

/** What a row of patches holds. */
struct PatchSize {
  size_t side = 0, times = 0;  // pixels of a side, frames
};

/** Of an op whose arguments fit as far as the host sees, or no times with a failure. */
template <class T> PatchSize patch_size_of(Stream& stream, const PatchRows<T>& op) {
  const auto refuse = [&](const char* code, const std::string& words) {
    fail(stream, code, (op.kName + (": " + words)).c_str());
    return PatchSize{};
  };
  const size_t count = op.grids.size / 3, width = op.rows.dim[1];
  if (op.patch < 1) return refuse("INVALID_ARGUMENT", "patch must be at least 1; got " + std::to_string(op.patch));
  if (!merge_holds(stream, op.kName, op.merge)) return {};
  const size_t side = static_cast<size_t>(op.patch), frame = kChannels * side * side;
  if (width == 0 || width % frame)
    return refuse("SHAPE_MISMATCH", "W must be a multiple of 3 · patch² = " + std::to_string(frame) + " above 0; got " + std::to_string(width));
  if (op.pixels.size != count)
    return refuse("SHAPE_MISMATCH", "pixels must be as many as grids, " + std::to_string(count) + "; got " + std::to_string(op.pixels.size));
  return {side, width / frame};
}

/** What is said of pixels that are no frames of a grid's size, or not as many as fill its t. */
inline std::string frames_message(const char* kernel, size_t k, size_t bytes, int32_t t, int32_t h, int32_t w) {
  return std::string(kernel) + ": pixels[" + std::to_string(k) + "] must be the frames of its grid (" + std::to_string(t) + ", " + std::to_string(h) + ", " +
         std::to_string(w) + "); got " + std::to_string(bytes) + " bytes";
}

}  // namespace g2rpo
