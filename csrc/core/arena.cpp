#include "arena.h"

#include <cstdlib>
#include <string>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "status.h"

namespace g2rpo {

namespace {
constexpr size_t kHuge = size_t{2} << 20;
constexpr size_t kBlock = size_t{1} << 20;

/** Blocks are never moved while in use: a larger request opens a new block behind the current one. */
struct ThreadScratch {
  struct Block {
    char* data;
    size_t size;
    size_t start;  // offset of its first byte in the thread's address-free numbering
  };
  std::vector<Block> blocks;
  size_t top = 0;
  size_t current = 0;
  /** what is kept, oldest first: where it begins, and whether it is still wanted */
  struct Kept {
    size_t mark;
    bool wanted;
  };
  std::vector<Kept> kept;
  ~ThreadScratch() {
    for (auto& b : blocks) deallocate(b.data, b.size);
  }
};
thread_local ThreadScratch tls;
}  // namespace

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

void return_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

void* scratch_take(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  auto& t = tls;
  while (t.current < t.blocks.size()) {
    auto& b = t.blocks[t.current];
    if (t.top + bytes <= b.start + b.size) {
      char* p = b.data + (t.top - b.start);
      t.top += bytes;
      return p;
    }
    if (t.current + 1 == t.blocks.size()) break;
    t.current++;
    t.top = t.blocks[t.current].start;
  }
  const size_t size = bytes > kBlock ? bytes : kBlock;
  const size_t start = t.blocks.empty() ? 0 : t.blocks.back().start + t.blocks.back().size;
  t.blocks.push_back({static_cast<char*>(allocate(size)), size, start});
  t.current = t.blocks.size() - 1;
  t.top = start + bytes;
  return t.blocks.back().data;
}

void* KeptScratch::take_bytes(size_t bytes) {
  tls.kept.push_back({tls.top, true});
  number_ = tls.kept.size();
  return scratch_take(bytes);
}

void KeptScratch::give_back() {
  if (!taken()) return;
  auto& kept = tls.kept;
  kept[number_ - 1].wanted = false;
  number_ = 0;
  for (; !kept.empty() && !kept.back().wanted; kept.pop_back()) scratch_release(kept.back().mark);
}

size_t scratch_mark() { return tls.top; }

void scratch_release(size_t mark) {
  auto& t = tls;
  t.top = mark;
  while (t.current > 0 && t.blocks[t.current].start > mark) t.current--;
  // everything is free: join the blocks into one, so that the next time it is a single bump
  if (mark == 0 && t.blocks.size() > 1) {
    size_t total = 0;
    for (auto& b : t.blocks) {
      total += b.size;
      deallocate(b.data, b.size);
    }
    t.blocks.clear();
    t.current = 0;
    t.blocks.push_back({static_cast<char*>(allocate(total)), total, 0});
  }
}

}  // namespace g2rpo
