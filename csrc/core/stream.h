// A stream runs kernels in the order in which they were enqueued. On the CPU it is one thread that owns a pool.
#pragma once
#include "dtype.h"

namespace g2rpo {

class ThreadPool;
/** Where a device's kernels wait for their turn; its backend knows what is in it. */
struct DeviceQueue;
class Accelerator;
class ScratchArena;

struct Stream {
  ThreadPool* pool = nullptr;  // of an accelerator: where failures are kept
  // null on the CPU
  DeviceQueue* queue = nullptr;
  Accelerator* accelerator = nullptr;
  ScratchArena* scratch = nullptr;
  /** A kernel of the running job has failed, as far as is known without waiting: what follows computes on rubbish and may stop early. */
  bool failed() const;
};

/** Calls body(context, i) for every i in [0, n), on all threads of the pool; returns when all are done. Which thread takes
 *  which i is not defined, so bodies write disjoint results and reductions are finished in order by the caller. */
void parallel_for_raw(Stream& stream, size_t n, void (*body)(void* context, size_t i), void* context);

/** How many threads share the items of a loop. It may decide how work is cut, never what comes out. */
int threads_of(const Stream& stream);

template <class F> G2_INLINE void parallel_for(Stream& stream, size_t n, F&& f) {
  if (n == 0) return;
  auto* context = &f;
  parallel_for_raw(
      stream, n, [](void* c, size_t i) { (*static_cast<decltype(context)>(c))(i); },
      const_cast<void*>(static_cast<const void*>(context)));
}

/** Records a failure that only the data could show; the first one of a kernel wins. Safe from any thread of the pool. */
void fail(Stream& stream, const char* code, const char* message);

}  // namespace g2rpo
