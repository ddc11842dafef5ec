// Scratch memory of a thread: bump allocation, freed when the scope ends, kept by the thread for the next one.
#pragma once
#include "dtype.h"

namespace g2rpo {

void* scratch_take(size_t bytes);
size_t scratch_mark();
void scratch_release(size_t mark);

/** 64-byte aligned temporary arrays of this thread, valid until the scope ends. Nothing is zeroed. */
class Scratch {
 public:
  G2_INLINE Scratch() : mark_(scratch_mark()) {}
  G2_INLINE ~Scratch() { scratch_release(mark_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T> G2_INLINE T* take(size_t count) { return static_cast<T*>(scratch_take(count * sizeof(T))); }

 private:
  size_t mark_;
};

/**
 * Memory that counts: of tensors, caches, and the scratch that a device's thread takes outside of loops. None of it depends on which
 * thread was faster, so that what a limit stops does not either.
 */
struct MemoryUse {
  size_t bytes, peak, limit;
};
MemoryUse memory_use();
/** `bytes` from now on, SIZE_MAX for none; what is there already stays. */
void limit_memory(size_t bytes);
/** Begins the peak anew. */
void forget_memory_peak();
/** Counts so much more. Throws OUT_OF_MEMORY where it would pass the limit. */
void claim_memory(size_t bytes);
void yield_memory(size_t bytes);
/** Whether scratch of the calling thread counts from now on; returns whether it did. */
bool count_scratch(bool counts);

/** 64-byte aligned memory, 2 MB aligned with huge pages asked for from 4 MB on. Throws OUT_OF_MEMORY. */
void* allocate(size_t bytes);
void deallocate(void* data, size_t bytes);

/** Hands freed memory back to the system. A thread's heap keeps it otherwise, also when the thread has ended. */
void return_free_memory();

}  // namespace g2rpo
