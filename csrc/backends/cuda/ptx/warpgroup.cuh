// The instructions of warpgroups (four warps), of compute capability 9.0 alone and of code that is compiled for 90a: products that run beside the threads that
// start them, and copies that a barrier in shared memory counts. tests/cuda/emulator has the same functions in plain C++, found by the include path.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace g2rpo::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kWarpgroupCode = true;
#else
constexpr bool kWarpgroupCode = false;
#endif
/** What a kernel does whose code is not there: it fails, rather than leave its results as they were. */
__device__ inline void fail_without_code() { __trap(); }

__device__ inline uint32_t shared_address(const void* at) { return static_cast<uint32_t>(__cvta_generic_to_shared(at)); }

/** A barrier in shared memory; its phases have parities 0, 1, 0 … and end when all have arrived and all expected bytes are there. */
using Barrier = uint64_t;
__device__ inline void begin_barrier(Barrier& barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals) : "memory");
}
/** By whoever began barriers, before others and copies are let at them. */
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void arrive(Barrier& barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory"); }
__device__ inline void arrive_expecting(Barrier& barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes) : "memory");
}
/** Until the phase of that parity has ended; true at once of parity 1 before the first one has. */
__device__ inline void wait(Barrier& barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred ended;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again;\n"
      "}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

/** Bytes on their way into shared memory, which the barrier counts; whole pieces of 16, aligned. */
__device__ inline void copy_bulk(void* to, const void* from, unsigned bytes, Barrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(&barrier))
               : "memory");
}
/** What this thread has stored in shared memory is there for products that begin after it says so to their threads. */
__device__ inline void publish_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/** From here on the threads of this warpgroup have so many registers: no more than they had, and no fewer. */
template <int Count> __device__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count)); }
template <int Count> __device__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count)); }

/** Before the first product that has registers which were written since products last ran. */
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/** The products since the last call are a group. */
__device__ inline void close_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/** All groups of products but the last Open are done; what they wrote is to be named by `done`. */
template <int Open> __device__ void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Open) : "memory"); }
/** No instruction that reads these goes before this place. */
template <int M> __device__ void done(float (&sum)[M][4]) {
#pragma unroll
  for (int i = 0; i < M; i++) asm volatile("" : "+f"(sum[i][0]), "+f"(sum[i][1]), "+f"(sum[i][2]), "+f"(sum[i][3])::"memory");
}

#define G2_SUM(i) "+f"(sum[First + i][0]), "+f"(sum[First + i][1]), "+f"(sum[First + i][2]), "+f"(sum[First + i][3])
#define G2_SUMS_8 G2_SUM(0), G2_SUM(1)
#define G2_SUMS_32 G2_SUMS_8, G2_SUM(2), G2_SUM(3), G2_SUM(4), G2_SUM(5), G2_SUM(6), G2_SUM(7)
#define G2_SUMS_64 G2_SUMS_32, G2_SUM(8), G2_SUM(9), G2_SUM(10), G2_SUM(11), G2_SUM(12), G2_SUM(13), G2_SUM(14), G2_SUM(15)
#define G2_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define G2_NAMES_32 G2_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define G2_NAMES_64                                                                                                                                     \
  G2_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58" \
              ", %59, %60, %61, %62, %63"

/**
 * sum[64, N] (+)= a[64, 16] · b[N, 16]ᵀ by a warpgroup, both in shared memory with k along rows (descriptors of csrc/backends/cuda/panels.cuh). Warp w has 16
 * rows from 16·w on, its lanes of them and of squares of 8 columns, from the square First of `sum` on, what multiply_squares gives them.
 */
template <int N, int First, int M> __device__ void multiply_shared(float (&sum)[M][4], uint64_t a, uint64_t b, bool add) {
#define G2_MULTIPLY(n, names, sums, first, second, third)                                                                                         \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" third ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" names "}, %" first \
               ", %" second ", add, 1, 1, 0, 0;\n}"                                                                                                \
               : sums                                                                                                                             \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))
  static_assert(N == 64 || N == 128);
  if constexpr (N == 64) G2_MULTIPLY("64", G2_NAMES_32, G2_SUMS_32, "32", "33", "34");
  else G2_MULTIPLY("128", G2_NAMES_64, G2_SUMS_64, "64", "65", "66");
#undef G2_MULTIPLY
}

/** sum[64, N] += a[64, 16] · b[16, N]: a in registers, as multiply_squares has it in every warp, b in shared memory with columns along rows. */
template <int N, int First, int M> __device__ void multiply_held(float (&sum)[M][4], const uint32_t (&a)[4], uint64_t b) {
#define G2_MULTIPLY(n, names, sums, u0, u1, u2, u3, second)                                                                                  \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" names "}, {%" u0 ", %" u1 ", %" u2 ", %" u3 "}, %" second ", 1, 1, 1, 1;" \
               : sums                                                                                                                        \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  static_assert(N == 16 || N == 64 || N == 128);
  if constexpr (N == 16) G2_MULTIPLY("16", G2_NAMES_8, G2_SUMS_8, "8", "9", "10", "11", "12");
  else if constexpr (N == 64) G2_MULTIPLY("64", G2_NAMES_32, G2_SUMS_32, "32", "33", "34", "35", "36");
  else G2_MULTIPLY("128", G2_NAMES_64, G2_SUMS_64, "64", "65", "66", "67", "68");
#undef G2_MULTIPLY
}

#undef G2_SUM
#undef G2_SUMS_8
#undef G2_SUMS_32
#undef G2_SUMS_64
#undef G2_NAMES_8
#undef G2_NAMES_32
#undef G2_NAMES_64

}  // namespace g2rpo::cuda
