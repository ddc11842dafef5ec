// Threads of a block as fibers of one thread of the system.
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <vector>

#include "cuda_runtime.h"

namespace {
constexpr size_t kStack = size_t{64} << 10, kShared = size_t{256} << 10;
constexpr size_t kHanded = 64;  // bytes that a lane hands over at most
}  // namespace

// a library for real devices knows nothing of this one; tests name the one that stands in for it
[[maybe_unused]] static const int without_cublaslt = setenv("G2RPO_CUBLASLT", "off", 0);

namespace g2rpo::cuda {
thread_local uint4 dynamic_shared[kShared / sizeof(uint4)];
}

namespace emulator {

namespace {

struct Warp {
  unsigned alive = 0, arrived = 0, generation = 0;
  alignas(16) unsigned char handed[2][32 * kHanded];
};

#if defined(__x86_64__)
/** Where something stopped: its stack, with the registers that a call keeps on top. */
struct Context {
  void* stack = nullptr;
};
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
void go(Context& from, const Context& to) { emulator_switch(&from.stack, to.stack); }
void begin_at(Context& context, unsigned char* stack, void (*function)()) {
  auto** top = reinterpret_cast<void**>(stack + kStack);
  top[-2] = reinterpret_cast<void*>(function);
  for (int i = 3; i <= 8; i++) top[-i] = nullptr;
  context.stack = top - 8;
}
#else
using Context = ucontext_t;
void go(Context& from, const Context& to) { swapcontext(&from, &to); }
void begin_at(Context& context, unsigned char* stack, void (*function)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack, context.uc_stack.ss_size = kStack, context.uc_link = nullptr;
  makecontext(&context, function, 0);
}
#endif

struct alignas(16) Stack {
  unsigned char bytes[kStack];
};

struct Fiber {
  Context context;
  std::unique_ptr<Stack> stack;
  uint3 index;
  unsigned number;
  bool done;
};

/** The block that runs. */
struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;  // kept from block to block
  std::vector<Warp> warps;
  std::vector<unsigned> order;
  unsigned alive = 0, arrived = 0, generation = 0, moves = 0;
  Fiber* current = nullptr;
  Context scheduler;
  const std::function<void()>* thread = nullptr;
  std::mt19937 shuffle{20261126};
};
thread_local Block block;

constexpr size_t kPage = 4096;
/** Every piece of device memory ends (but for what 16 bytes of alignment leave) where a page begins that nobody may touch. */
std::map<void*, std::pair<void*, size_t>> mapped;
std::set<void*> uncounted;  // of graphs
std::mutex mapped_mutex;

void give_way() {
  Fiber* me = block.current;
  go(me->context, block.scheduler);
  threadIdx = me->index;
}

/** What waits for this one is let go: it arrived, or it ended. */
void release_block() {
  if (block.alive && block.arrived >= block.alive) block.arrived = 0, block.generation++;
}
void release_warp(Warp& warp) {
  if (warp.alive && warp.arrived >= warp.alive) warp.arrived = 0, warp.generation++;
}

void begin_fiber() {
  (*block.thread)();
  Fiber* me = block.current;
  me->done = true;
  Warp& warp = block.warps[me->number / 32];
  block.alive--, warp.alive--;
  release_block(), release_warp(warp);
  go(me->context, block.scheduler);
}

void run_block(unsigned threads, dim3 shape) {
  block.warps.assign((threads + 31) / 32, {});
  block.alive = threads, block.arrived = 0;
  while (block.fibers.size() < threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
    block.fibers.back()->stack.reset(new Stack);
  }
  block.order.resize(threads);
  for (unsigned i = 0; i < threads; i++) {
    Fiber& f = *block.fibers[i];
    f.number = i, f.done = false;
    f.index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    block.warps[i / 32].alive++;
    begin_at(f.context, f.stack->bytes, begin_fiber);
    block.order[i] = i;
  }
  std::shuffle(block.order.begin(), block.order.end(), block.shuffle);
  while (block.alive) {
    const unsigned before = block.generation, alive = block.alive, moves = block.moves;
    bool moved = false;
    for (const unsigned i : block.order) {
      Fiber& f = *block.fibers[i];
      if (f.done) continue;
      Warp& warp = block.warps[i / 32];
      const unsigned generation = warp.generation, arrived = warp.arrived + block.arrived;
      block.current = &f;
      threadIdx = f.index;
      go(block.scheduler, f.context);
      moved |= warp.generation != generation || warp.arrived + block.arrived != arrived;
    }
    if (!moved && block.generation == before && block.alive == alive && block.moves == moves && alive) {
      std::fprintf(stderr, "emulator: the threads of a block wait for each other for ever\n");
      std::abort();
    }
  }
}

/**
 * What a test that names a file in G2RPO_EMULATED_FAULTS reads and writes there (tests/support/emulatedFaults.ts): what has been asked for so
 * far, and which of it is to fail, if one is.
 */
struct Faults {
  struct Count {
    std::atomic<int64_t> asked, fails;
    bool now() { return ++asked == fails; }
  };
  Count allocations, launches;
  std::atomic<int64_t> pieces;  // of memory that are there
  Count losses;                 // launches again; from the one that fails on everything does, for good

  static Faults& shared() {
    static Faults& of_process = [] -> Faults& {
      static Faults nobody{};
      const char* file = std::getenv("G2RPO_EMULATED_FAULTS");
      const int opened = file ? open(file, O_RDWR) : -1;
      if (opened < 0 || ftruncate(opened, sizeof(Faults)) != 0) return nobody;
      void* data = mmap(nullptr, sizeof(Faults), PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
      close(opened);
      return data == MAP_FAILED ? nobody : *static_cast<Faults*>(data);
    }();
    return of_process;
  }
};

std::atomic<bool> is_lost{false};

}  // namespace

bool lost() { return is_lost; }

int devices() {
  const char* asked = std::getenv("G2RPO_EMULATED_DEVICES");
  return asked ? std::atoi(asked) : 1;
}

size_t shared_bytes() {
  const char* asked = std::getenv("G2RPO_EMULATED_SHARED_BYTES");
  return asked ? static_cast<size_t>(std::atoll(asked)) : 232448;
}

bool makes_graphs() { return !std::getenv("G2RPO_EMULATED_NO_GRAPHS"); }

cudaError_t allocate(void** data, size_t bytes) {
  *data = nullptr;
  if (Faults::shared().allocations.now() || bytes > size_t{1} << 40) return cudaErrorMemoryAllocation;
  const size_t pages = (std::max<size_t>(bytes, 1) + kPage - 1) / kPage * kPage;
  auto* begin = static_cast<unsigned char*>(mmap(nullptr, pages + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (begin == MAP_FAILED) return cudaErrorMemoryAllocation;
  mprotect(begin + pages, kPage, PROT_NONE);
  *data = begin + (pages - bytes) / 16 * 16;
  std::memset(*data, 0xcd, bytes);
  Faults::shared().pieces++;
  std::lock_guard lock(mapped_mutex);
  mapped[*data] = {begin, pages + kPage};
  return cudaSuccess;
}

cudaError_t release(void* data) {
  if (!data) return cudaSuccess;
  std::lock_guard lock(mapped_mutex);
  const auto at = mapped.find(data);
  if (at == mapped.end()) return cudaErrorInvalidValue;
  munmap(at->second.first, at->second.second);
  mapped.erase(at);
  if (uncounted.erase(data) == 0) Faults::shared().pieces--;
  return cudaSuccess;
}

void no_longer_count(void* data) {
  std::lock_guard lock(mapped_mutex);
  if (data && uncounted.insert(data).second) Faults::shared().pieces--;
}

bool of_device(const void* data, size_t bytes) {
  std::lock_guard lock(mapped_mutex);
  const auto next = mapped.upper_bound(const_cast<void*>(data));
  if (next == mapped.begin()) return false;
  const auto& [begin, size] = std::prev(next)->second;
  return static_cast<const char*>(data) + bytes <= static_cast<const char*>(begin) + size - kPage;
}

Recording::~Recording() {
  for (void* each : memory) release(each);
}

unsigned lane() { return block.current->number % 32; }

void block_barrier() {
  const unsigned generation = block.generation;
  block.arrived++;
  release_block();
  while (block.generation == generation) give_way();
}

void wait_a_turn() { give_way(); }
void moved() { block.moves++; }

const unsigned char* warp_exchange(const void* mine, size_t size) {
  if (size > kHanded) std::abort();
  Warp& warp = block.warps[block.current->number / 32];
  const unsigned generation = warp.generation;
  // no lane can be two exchanges ahead of another: two places are enough
  unsigned char* all = warp.handed[generation % 2];
  if (size) std::memcpy(all + lane() * size, mine, size);
  warp.arrived++;
  release_warp(warp);
  while (warp.generation == generation) give_way();
  return all;
}

cudaError_t run(dim3 grid, dim3 shape, size_t shared, const std::function<void()>& thread) {
  const unsigned threads = shape.x * shape.y * shape.z;
  if (threads == 0 || threads > 1024 || shared > kShared || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidValue;
  if (Faults::shared().losses.now()) is_lost = true;
  if (is_lost) return cudaErrorECCUncorrectable;
  if (Faults::shared().launches.now()) return cudaErrorLaunchOutOfResources;
  block.thread = &thread;
  blockDim = shape, gridDim = grid;
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        std::memset(g2rpo::cuda::dynamic_shared, 0xcd, shared);
        run_block(threads, shape);
      }
  return cudaSuccess;
}

}  // namespace emulator
