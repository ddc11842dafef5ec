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

/**
 * Scratch that is kept from one job of a thread to the next. Taken in one go, while no scope of the thread is open; any of several may be given
 * back first, and then its memory comes free with those that were taken after it. All of it happens on one thread.
 */
class KeptScratch {
 public:
  KeptScratch() = default;
  KeptScratch(const KeptScratch&) = delete;
  KeptScratch& operator=(const KeptScratch&) = delete;
  template <class T> T* take(size_t count) { return static_cast<T*>(take_bytes(count * sizeof(T))); }
  bool taken() const { return number_ != 0; }
  /** Nothing happens if there is none. */
  void give_back();

 private:
  void* take_bytes(size_t bytes);
  size_t number_ = 0;  // of the thread's, from 1 on
};

/** 64-byte aligned memory, 2 MB aligned with huge pages asked for from 4 MB on. Throws OUT_OF_MEMORY. */
void* allocate(size_t bytes);
void deallocate(void* data, size_t bytes);
/** The same, counted. */
void* allocate_counted(size_t bytes);
void deallocate_counted(void* data, size_t bytes);

/** An array that outlives the scope it was made in. Where it does not count, whoever writes it counts what is written. Nothing is zeroed. */
template <class T, bool counts = true> class Array {
 public:
  Array() = default;
  explicit Array(size_t count) : data_(static_cast<T*>((counts ? allocate_counted : allocate)(count * sizeof(T)))), size_(count) {}
  Array(Array&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr, other.size_ = 0; }
  Array& operator=(Array&& other) noexcept {
    T* const data = data_;
    const size_t size = size_;
    data_ = other.data_, size_ = other.size_;
    other.data_ = data, other.size_ = size;
    return *this;
  }
  ~Array() {
    if (data_) (counts ? deallocate_counted : deallocate)(data_, size_ * sizeof(T));
  }
  T* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

/** Hands freed memory back to the system. A thread's heap keeps it otherwise, also when the thread has ended. */
void return_free_memory();

}  // namespace g2rpo
