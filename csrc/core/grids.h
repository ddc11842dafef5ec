// Pictures and videos as grids (t, h, w) of patches in merge order: what kernels of every backend ask of them, in the same words. Hot files may include it.
#pragma once
#include "stream.h"
#include "tensor.h"

namespace g2rpo {

struct GridMessage {
  char text[200];

  G2_INLINE static GridMessage sides(const char* kernel, size_t i, int32_t merge, int32_t t, int32_t h, int32_t w) {
    GridMessage m;
    __builtin_snprintf(m.text, sizeof m.text, "%s: grids[%zu] must be at least 1 in all, rows and columns multiples of merge %d; got (%d, %d, %d)", kernel,
                       i, merge, t, h, w);
    return m;
  }
  G2_INLINE static GridMessage too_many(const char* kernel, size_t patches, size_t i, int32_t t, int32_t h, int32_t w) {
    GridMessage m;
    __builtin_snprintf(m.text, sizeof m.text, "%s: grids must hold %zu patches; grids[%zu] (%d, %d, %d) is more than is left", kernel, patches, i, t, h, w);
    return m;
  }
  G2_INLINE static GridMessage too_few(const char* kernel, size_t patches, size_t got) {
    GridMessage m;
    __builtin_snprintf(m.text, sizeof m.text, "%s: grids must hold %zu patches; got %zu", kernel, patches, got);
    return m;
  }
};

G2_INLINE bool merge_holds(Stream& stream, const char* kernel, int32_t merge) {
  if (merge >= 1) return true;
  char message[120];
  __builtin_snprintf(message, sizeof message, "%s: merge must be at least 1; got %d", kernel, merge);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

/** Whether grids hold so many patches; if not, that is the kernel's failure. Of grids that the host can read. */
G2_INLINE bool grids_are_valid(Stream& stream, const char* kernel, View<const int32_t> grids, int32_t merge, size_t patches) {
  if (!merge_holds(stream, kernel, merge)) return false;
  GridMessage message;
  size_t left = patches, i = 0;
  for (; i < grids.size / 3; i++) {
    const int32_t t = grids[3 * i], h = grids[3 * i + 1], w = grids[3 * i + 2];
    const size_t frame = static_cast<size_t>(h) * static_cast<size_t>(w);
    if (t < 1 || h < 1 || w < 1 || h % merge || w % merge) message = GridMessage::sides(kernel, i, merge, t, h, w);
    else if (frame > left || static_cast<size_t>(t) > left / frame) message = GridMessage::too_many(kernel, patches, i, t, h, w);
    else {
      left -= frame * static_cast<size_t>(t);
      continue;
    }
    break;
  }
  if (i == grids.size / 3) {
    if (left == 0) return true;
    message = GridMessage::too_few(kernel, patches, patches - left);
  }
  fail(stream, "INVALID_ARGUMENT", message.text);
  return false;
}

}  // namespace g2rpo
