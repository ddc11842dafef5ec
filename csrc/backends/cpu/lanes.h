// How hot kernels walk over memory: blocks of a fixed size on all threads, whole vectors with one partial vector at the end.
// For hot files only, like simd.h.
#pragma once
#include "../../core/stream.h"
#include "caches.h"
#include "simd.h"

/** For lambdas that must not be left as functions of their own. */
#define G2_INLINED __attribute__((always_inline))

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

/** Elements that one work item takes: enough to pay for handing it out, few enough to stay in the second-level cache. */
constexpr size_t kBlock = 16384;

/** body(begin, end) for blocks of a fixed size, whatever the number of threads. */
template <class F> G2_INLINE void for_blocks(Stream& stream, size_t n, size_t block, F&& body) {
  parallel_for(stream, (n + block - 1) / block, [&](size_t b) {
    const size_t begin = b * block;
    body(begin, begin + block < n ? begin + block : n);
  });
}

/** A whole vector, or its first n lanes: the others are 0 when loaded and not stored. */
template <class T> struct Whole {
  static constexpr size_t n = static_cast<size_t>(lanes<T>);
  G2_INLINE Vec<T> load(const T* p, T = T(0)) const { return simd::load(p); }
  G2_INLINE Vec<float> load(const bf16* p) const { return simd::load(p); }
  G2_INLINE void store(T* p, Vec<T> v) const { simd::store(p, v); }
};
/** A whole vector that is stored past the caches. */
template <class T> struct Past : Whole<T> {
  G2_INLINE void store(T* p, Vec<T> v) const { simd::store_past(p, v); }
};
template <class T> struct Part {
  size_t n;
  G2_INLINE Vec<T> load(const T* p, T rest = T(0)) const { return load_n(p, n, rest); }
  G2_INLINE Vec<float> load(const bf16* p) const { return load_n(p, n); }
  G2_INLINE void store(T* p, Vec<T> v) const { store_n(p, v, n); }
};

/** body(i, at) for every vector of [begin, end); `at` loads and stores as many lanes as there are left. */
template <class T, class At = Whole<T>, class F> G2_INLINE void for_lanes(size_t begin, size_t end, F&& body) {
  size_t i = begin;
  for (; i + At::n <= end; i += At::n) body(i, At{});
  if (i < end) body(i, Part<T>{end - i});
}

/**
 * body(i, at) on the elements of tensors of one size, on all threads. What is written goes past the caches where all that is read and written is more
 * than the last of them holds: it would be gone before it is read again, and would be read before it is written.
 */
template <class T, size_t Inputs, size_t Outputs, class F>
G2_INLINE void for_elements(Stream& stream, size_t n, const T* const (&inputs)[Inputs], T* const (&outputs)[Outputs], F&& body) {
  bool past = n * (Inputs + Outputs) * sizeof(T) > last_cache_bytes();
  for (const T* out : outputs) {
    past = past && reinterpret_cast<uintptr_t>(out) % kVectorBytes == 0;
    for (const T* in : inputs) past = past && in != out;
  }
  for_blocks(stream, n, kBlock, [&](size_t begin, size_t end) {
    if (!past) return for_lanes<T>(begin, end, body);
    for_lanes<T, Past<T>>(begin, end, body);
    landed();
  });
}

/** Rows that one work item takes. At least 64, so that what a block of rows leaves (a row of sums) is small beside it. */
G2_INLINE size_t block_rows(size_t width) { return kBlock / width > 64 ? kBlock / width : 64; }

/** out[i] += Σ over b of partial[b][i], b rising. */
template <class T> G2_INLINE void add_partials(const T* partial, size_t count, size_t stride, T* out, size_t n) {
  for_lanes<T>(0, n, [&](size_t i, auto at) G2_INLINED {
    Vec<T> total{};
    for (size_t b = 0; b < count; b++) total += at.load(partial + b * stride + i);
    at.store(out + i, at.load(out + i) + total);
  });
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
