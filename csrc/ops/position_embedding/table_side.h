#pragma once
#include "../../core/stream.h"

namespace g2rpo {

/** Side of the table, or 0 with a failure if it is no square. */
G2_INLINE int32_t table_side(Stream& stream, const char* kernel, size_t rows) {
  int32_t side = static_cast<int32_t>(__builtin_sqrt(static_cast<double>(rows)) + 0.5);
  if (side > 0 && static_cast<size_t>(side) * static_cast<size_t>(side) == rows) return side;
  char message[120];
  __builtin_snprintf(message, sizeof message, "%s: E must be a square above 0; got %zu", kernel, rows);
  fail(stream, "SHAPE_MISMATCH", message);
  return 0;
}

}  // namespace g2rpo
