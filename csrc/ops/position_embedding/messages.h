// What is said of grids that do not fit, whatever finds it.
#pragma once
#include "../../core/stream.h"

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

/** Side of the table, or 0 with a failure if it is no square. */
G2_INLINE int32_t table_side(Stream& stream, const char* kernel, size_t rows) {
  int32_t side = static_cast<int32_t>(__builtin_sqrt(static_cast<double>(rows)) + 0.5);
  if (side > 0 && static_cast<size_t>(side) * static_cast<size_t>(side) == rows) return side;
  char message[120];
  __builtin_snprintf(message, sizeof message, "%s: E must be a square above 0; got %zu", kernel, rows);
  fail(stream, "SHAPE_MISMATCH", message);
  return 0;
}

G2_INLINE bool merge_holds(Stream& stream, const char* kernel, int32_t merge) {
  if (merge >= 1) return true;
  char message[120];
  __builtin_snprintf(message, sizeof message, "%s: merge must be at least 1; got %d", kernel, merge);
  fail(stream, "INVALID_ARGUMENT", message);
  return false;
}

}  // namespace g2rpo
