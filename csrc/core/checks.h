// What kernels of every backend ask of their arguments, in the same words. Hot files may include it.
#pragma once
#include "stream.h"
#include "tensor.h"

namespace g2rpo {

/** What is said of an index that is out of its range. */
struct IndexMessage {
  char text[160];
  G2_INLINE IndexMessage(const char* kernel, const char* name, size_t k, int32_t lowest, size_t count, int32_t came) {
    __builtin_snprintf(text, sizeof text, "%s: %s[%zu] must be in [%d, %zu); got %d", kernel, name, k, lowest, count, came);
  }
};

/** Whether a list is as long as another, tensor by tensor; if not, that is the kernel's failure. */
template <class T, class U>
G2_INLINE bool lists_agree(Stream& stream, const char* kernel, const char* name, const ViewList<T>& list, const ViewList<U>& other) {
  bool same = list.size == other.size;
  for (size_t i = 0; same && i < list.size; i++) same = list.items[i].size == other.items[i].size;
  if (same) return true;
  char message[160];
  __builtin_snprintf(message, sizeof message, "%s: %s must be as many tensors, of the same sizes, as the other lists", kernel, name);
  fail(stream, "SHAPE_MISMATCH", message);
  return false;
}

}  // namespace g2rpo
