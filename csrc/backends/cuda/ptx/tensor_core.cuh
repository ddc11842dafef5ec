// The instructions of tensor cores, from compute capability 8.0 on; tests/cuda/emulator has the same functions in plain C++, found by the include
// path instead of these.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace g2rpo::cuda {

/** Two numbers rounded to bf16, the nearest and of two the even one; `low` lies first in memory. */
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/**
 * Four squares of 8 × 8 numbers of bf16 out of shared memory: lane 8i + r says where row r of square i begins (16 bytes, aligned). Register i of
 * lane l is then [row l / 4][columns 2·(l % 4) and the next] of square i.
 */
__device__ inline void load_squares(const void* row, uint32_t (&squares)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(squares[0]), "=r"(squares[1]), "=r"(squares[2]), "=r"(squares[3])
               : "r"(at));
}
/** The same of squares that lie transposed: register i of lane l is [rows 2·(l % 4) and the next][column l / 4] of what lies there. */
__device__ inline void load_squares_transposed(const void* row, uint32_t (&squares)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(squares[0]), "=r"(squares[1]), "=r"(squares[2]), "=r"(squares[3])
               : "r"(at));
}

/**
 * c[16, 8] += a[16, 16] · b[16, 8], by a warp; products of bf16, sums in f32. Lane l has of a the rows l / 4 and 8 more, of b the column l / 4, of
 * c the rows as of a and the columns 2·(l % 4) and the next; along k both have 2·(l % 4), the next, and these 8 more.
 */
__device__ inline void multiply_squares(const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** 16 bytes of what is read once and by nobody else, or zeros where they are not `inside`; it stays behind what is written before it. */
__device__ inline uint4 load_once(const void* from, bool inside) {
  uint4 x;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@p ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
      : "=&r"(x.x), "=&r"(x.y), "=&r"(x.z), "=&r"(x.w)
      : "l"(__cvta_generic_to_global(from)), "r"(static_cast<int>(inside))
      : "memory");
  return x;
}

/** 2ˣ with a relative error below 2⁻²²; what is below 2⁻¹²⁶ is 0. */
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/** 16 bytes on their way into shared memory while the thread goes on, or zeros where they are not `inside`; `from` may be read either way. */
__device__ inline void fetch(void* to, const void* from, bool inside) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0) : "memory");
}
/** What this thread has fetched since the last call is a group. */
__device__ inline void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** All groups of this thread but the last Open have arrived. */
template <int Open> __device__ void wait_for_groups() { asm volatile("cp.async.wait_group %0;" ::"n"(Open) : "memory"); }

}  // namespace g2rpo::cuda
