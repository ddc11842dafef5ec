#include "arena.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "accelerator.h"
#include "status.h"

namespace g2rpo {

namespace {
constexpr size_t kHuge = size_t{2} << 20;
constexpr size_t kBlock = size_t{1} << 20;
}  // namespace

/** Blocks are never moved while in use: a larger request opens a new block behind the current one. */
class ScratchArena {
 public:
  struct Block {
    char* data;
    size_t size;
    size_t start;  // how much had been taken when this block became the current one
  };
  std::vector<Block> blocks;
  size_t top = 0;  // bytes taken
  size_t current = 0;
  bool counts = false;
  /** what is kept, oldest first: where it begins, and whether it is still wanted */
  struct Kept {
    size_t mark;
    bool wanted;
  };
  std::vector<Kept> kept;
  Accelerator* accelerator = nullptr;

  ~ScratchArena() {
    if (counts) yield_memory(top);  // of a thread that ended while something was kept
    for (auto& b : blocks) close(b);
  }
  Block open(size_t size) const {
    return {static_cast<char*>(accelerator ? accelerator->allocate(size) : allocate(size)), size, top};
  }
  void close(const Block& b) const {
    if (accelerator) accelerator->deallocate(b.data);
    else deallocate(b.data, b.size);
  }
};

namespace {
thread_local ScratchArena own;
thread_local ScratchArena* lent = nullptr;

std::atomic<size_t> in_use{0}, peak_use{0}, most{SIZE_MAX};

std::string megabytes(size_t bytes) {
  char text[32];
  snprintf(text, sizeof text, bytes < 100'000'000 ? "%.2f MB" : "%.0f MB", static_cast<double>(bytes) / 1e6);
  return text;
}
}  // namespace

MemoryUse memory_use() { return {in_use.load(), peak_use.load(), most.load()}; }
void limit_memory(size_t bytes) { most = bytes; }
void forget_memory_peak() { peak_use = in_use.load(); }
void yield_memory(size_t bytes) { in_use -= bytes; }

void claim_memory(size_t bytes) {
  const size_t now = in_use += bytes;
  if (const size_t limit = most; now > limit) {
    in_use -= bytes;
    throw Error("OUT_OF_MEMORY", "an array of " + megabytes(bytes) + " would pass the limit of " + megabytes(limit) + "; " +
                                     megabytes(now - bytes) + " are in use");
  }
  size_t peak = peak_use;
  while (now > peak && !peak_use.compare_exchange_weak(peak, now)) {
  }
}

bool count_scratch(bool counts) { return std::exchange(thread_scratch().counts, counts); }

void* allocate(size_t bytes) {
  if (bytes == 0) bytes = 64;
  const bool huge = bytes >= 2 * kHuge;
  const size_t align = huge ? kHuge : 64;
  if (bytes > SIZE_MAX - align) throw Error("OUT_OF_MEMORY", "an allocation larger than the address space was asked for");
  void* data = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (!data) throw Error("OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) + " bytes");
#if defined(__linux__)
  if (huge) madvise(data, (bytes + align - 1) / align * align, MADV_HUGEPAGE);
#endif
  return data;
}

void deallocate(void* data, size_t) { std::free(data); }

void* allocate_counted(size_t bytes, Accelerator* accelerator) {
  claim_memory(bytes);
  try {
    return accelerator ? accelerator->allocate(bytes) : allocate(bytes);
  } catch (...) {
    yield_memory(bytes);
    throw;
  }
}

void deallocate_counted(void* data, size_t bytes, Accelerator* accelerator) {
  if (accelerator) accelerator->deallocate(data);
  else deallocate(data, bytes);
  yield_memory(bytes);
}

void return_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

ScratchArena& thread_scratch() { return lent ? *lent : own; }
ScratchArena* lend_scratch(ScratchArena* arena) { return std::exchange(lent, arena); }

ScratchArena* open_scratch(Accelerator* accelerator) {
  auto* arena = new ScratchArena;
  arena->accelerator = accelerator;
  arena->counts = true;
  return arena;
}
void close_scratch(ScratchArena* arena) { delete arena; }

void* scratch_take(ScratchArena& t, size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  if (t.counts) claim_memory(bytes);
  size_t size = std::max(bytes, kBlock);
  for (; t.current < t.blocks.size(); t.current++) {
    auto& b = t.blocks[t.current];
    const size_t used = t.top - b.start;
    if (used + bytes <= b.size) {
      t.top += bytes;
      return b.data + used;
    }
    const size_t next = t.current + 1;
    if (next == t.blocks.size()) break;
    if (t.blocks[next].size >= bytes) {
      t.blocks[next].start = t.top;
      continue;
    }
    // those behind it are free and too small, and would be passed over: one takes the place of all
    size_t free = 0;
    for (size_t i = next; i < t.blocks.size(); i++) {
      free += t.blocks[i].size;
      t.close(t.blocks[i]);
    }
    t.blocks.resize(next);
    size = std::max(size, free);
    break;
  }
  try {
    t.blocks.push_back(t.open(size));
  } catch (...) {
    if (t.counts) yield_memory(bytes);
    throw;
  }
  t.current = t.blocks.size() - 1;
  t.top += bytes;
  return t.blocks.back().data;
}

void* KeptScratch::take_bytes(size_t bytes) {
  ScratchArena& scratch = thread_scratch();
  const size_t mark = scratch.top;
  void* const data = scratch_take(scratch, bytes);
  scratch.kept.push_back({mark, true});
  number_ = scratch.kept.size();
  return data;
}

void KeptScratch::give_back() {
  if (!taken()) return;
  ScratchArena& scratch = thread_scratch();
  auto& kept = scratch.kept;
  kept[number_ - 1].wanted = false;
  number_ = 0;
  for (; !kept.empty() && !kept.back().wanted; kept.pop_back()) scratch_release(scratch, kept.back().mark);
}

size_t scratch_mark(const ScratchArena& t) { return t.top; }

void scratch_release(ScratchArena& t, size_t mark) {
  if (t.counts) yield_memory(t.top - mark);
  t.top = mark;
  while (t.current > 0 && t.blocks[t.current].start >= mark) t.current--;
  if (mark > 0 || t.blocks.size() < 2) return;
  // everything is free: join the blocks into one, so that the next time it is a single bump
  size_t total = 0;
  for (auto& b : t.blocks) {
    total += b.size;
    t.close(b);
  }
  t.blocks.clear();
  try {
    t.blocks.push_back(t.open(total));
  } catch (const Error&) {  // what is next taken is allocated then, or refused
  }
}

}  // namespace g2rpo
