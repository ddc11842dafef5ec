// What is said of rows that are not all different, whatever finds it.
#pragma once
#include "op.h"

namespace g2rpo {

struct TwiceMessage {
  char text[120];
  G2_INLINE TwiceMessage(const char* kernel, int32_t row, size_t k) {
    __builtin_snprintf(text, sizeof text, "%s: rows must be different; %d occurs twice, at last as rows[%zu]", kernel, row, k);
  }
};

}  // namespace g2rpo
