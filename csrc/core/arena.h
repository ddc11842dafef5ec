// Scratch memory of a thread, or of an accelerator: bump allocation, freed when the scope ends, kept for the next one.
#pragma once
#include "stream.h"

namespace g2rpo {

/** Where scratch comes from: blocks of a thread's memory or of an accelerator's, taken and given back in the order of scopes. */
class ScratchArena;
/** That of the calling thread: its own, or one that was lent to it. */
ScratchArena& thread_scratch();
void* scratch_take(ScratchArena&, size_t bytes);
size_t scratch_mark(const ScratchArena&);
void scratch_release(ScratchArena&, size_t mark);
/** One that counts, in the memory of an accelerator unless it is null. */
ScratchArena* open_scratch(Accelerator*);
void close_scratch(ScratchArena*);
/** The calling thread takes its scratch from it, until it is lent what this returns: what it took it from before. */
ScratchArena* lend_scratch(ScratchArena*);

/** 64-byte aligned temporary arrays, valid until the scope ends. Nothing is zeroed. */
class Scratch {
 public:
  /** of this thread */
  G2_INLINE Scratch() : Scratch(thread_scratch()) {}
  /** where the stream's kernels work */
  G2_INLINE explicit Scratch(const Stream& stream) : Scratch(stream.scratch ? *stream.scratch : thread_scratch()) {}
  G2_INLINE ~Scratch() { scratch_release(arena_, mark_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T> G2_INLINE T* take(size_t count) { return static_cast<T*>(scratch_take(arena_, count * sizeof(T))); }
  /** What is taken from here on, by this scope and by scopes that have ended, may be given back before the scope ends. */
  size_t mark() const { return scratch_mark(arena_); }
  void give_back(size_t mark) { scratch_release(arena_, mark); }

 private:
  G2_INLINE explicit Scratch(ScratchArena& arena) : arena_(arena), mark_(scratch_mark(arena)) {}
  ScratchArena& arena_;
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
/** The same, counted; of an accelerator unless it is null. */
void* allocate_counted(size_t bytes, Accelerator* accelerator = nullptr);
void deallocate_counted(void* data, size_t bytes, Accelerator* accelerator = nullptr);

/**
 * An array that outlives the scope it was made in. Where it does not count, whoever writes it counts what is written; that of an accelerator
 * always counts. Nothing is zeroed.
 */
template <class T, bool counts = true> class Array {
 public:
  Array() = default;
  explicit Array(size_t count, Accelerator* accelerator = nullptr) : accelerator_(accelerator), size_(count) {
    if (counts || accelerator) data_ = static_cast<T*>(allocate_counted(count * sizeof(T), accelerator));
    else data_ = static_cast<T*>(allocate(count * sizeof(T)));
  }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Array() {
    if (!data_) return;
    if (counts || accelerator_) deallocate_counted(data_, size_ * sizeof(T), accelerator_);
    else deallocate(data_, size_ * sizeof(T));
  }
  T* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(Array& other) noexcept {
    const auto each = [](auto& a, auto& b) {
      const auto before = a;
      a = b, b = before;
    };
    each(accelerator_, other.accelerator_), each(data_, other.data_), each(size_, other.size_);
  }
  Accelerator* accelerator_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0;
};

/** Hands freed memory back to the system. A thread's heap keeps it otherwise, also when the thread has ended. */
void return_free_memory();

}  // namespace g2rpo
