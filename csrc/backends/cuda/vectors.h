// Elements sixteen bytes at a time where pointers allow it: four bytes a thread reach about half of the memory's speed.
#pragma once
#include <tensor_core.cuh>

#include "device.h"

namespace g2rpo::cuda {

/** W neighbours, loaded or stored at once; of more than 16 bytes, which is what pointers are known to be aligned to, 16 at a time. */
template <class T, int W> struct alignas(W * sizeof(T) < 16 ? W * sizeof(T) : 16) Pack {
  T x[W];
};
template <int W, class T> __device__ Pack<T, W> load(const T* p) { return *reinterpret_cast<const Pack<T, W>*>(p); }
template <int W, class T> __device__ void store(T* p, const Pack<T, W>& v) { *reinterpret_cast<Pack<T, W>*>(p) = v; }

/** Elements of 16 bytes. */
template <class T> constexpr int kWide = 16 / sizeof(T);

template <class... P> __host__ __device__ bool aligned(const P*... p) { return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...); }

/** An element as arithmetic takes it. */
template <class T> __device__ T widened(T x) { return x; }
__device__ inline float widened(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

/** Neighbours stored as they are, or rounded. */
template <int W, class T> __device__ void store_as(T* p, const Pack<T, W>& v) { store<W>(p, v); }
template <int W> __device__ void store_as(bf16* p, const Pack<float, W>& v) {
  if constexpr (W == 1) {
    p->bits = static_cast<uint16_t>(pack_bf16(v.x[0], 0));
  } else {
    Pack<uint32_t, W / 2> pairs;
    for (int w = 0; w < W; w += 2) pairs.x[w / 2] = pack_bf16(v.x[w], v.x[w + 1]);
    store<W / 2>(reinterpret_cast<uint32_t*>(p), pairs);
  }
}

/** start(std::integral_constant<int, W>) with packs of 16 bytes where rows of `width` elements are made of them. */
template <class T, class F> void with_pack(size_t width, bool aligned, F&& start) {
  if (aligned && width % kWide<T> == 0) start(std::integral_constant<int, kWide<T>>{});
  else start(std::integral_constant<int, 1>{});
}

/** What an elementwise kernel reads and writes; an output may be an input. Arithmetic on bf16 is in f32, and of f32 all outputs may be rounded to bf16. */
template <class T, int I, int O, class U = T> struct Arrays {
  using Real = std::conditional_t<std::is_same_v<T, bf16>, float, T>;
  const T* in[I];
  U* out[O];
};

constexpr int kPacks = 2;  // that a thread has under way at a time

template <int W, class T, int I, int O, class U, class F> __device__ void map_pack(const Pack<T, W> (&in)[I], const Arrays<T, I, O, U>& a, size_t i, const F& f) {
  using Real = typename Arrays<T, I, O, U>::Real;
  Pack<Real, W> out[O];
  for (int w = 0; w < W; w++) {
    Real x[I], y[O];
    for (int k = 0; k < I; k++) x[k] = widened(in[k].x[w]);
    f(x, y);
    for (int k = 0; k < O; k++) out[k].x[w] = y[k];
  }
  for (int k = 0; k < O; k++) store_as<W>(a.out[k] + i, out[k]);
}

/** out = f(in) for the elements [begin, end), by all threads of a block; aligned to W elements at begin. */
template <int W, class T, int I, int O, class U, class F> __device__ void map_part(const Arrays<T, I, O, U>& a, size_t begin, size_t end, const F& f) {
  const size_t step = blockDim.x * W;
  for (size_t i = begin + threadIdx.x * W; i < end; i += kPacks * step) {
    if (i + (kPacks - 1) * step + W <= end) {
      Pack<T, W> in[kPacks][I];
      for (int p = 0; p < kPacks; p++)
        for (int k = 0; k < I; k++) in[p][k] = load<W>(a.in[k] + i + p * step);
      for (int p = 0; p < kPacks; p++) map_pack<W>(in[p], a, i + p * step, f);
      continue;
    }
    for (int p = 0; p < kPacks; p++)
      for (size_t j = i + p * step; j < end && j < i + p * step + W; j++) {
        Pack<T, 1> in[I];
        for (int k = 0; k < I; k++) in[k] = load<1>(a.in[k] + j);
        map_pack<1>(in, a, j, f);
      }
  }
}

template <int W, class T, int I, int O, class U, class F> __global__ void map_elements(Arrays<T, I, O, U> a, size_t n, F f) {
  const size_t size = kPacks * blockDim.x * W, begin = blockIdx.x * size;
  map_part<W>(a, begin, begin + size < n ? begin + size : n, f);
}

/** out = f(in), element by element: f(const T (&in)[I], T (&out)[O]). */
template <class T, int I, int O, class F, class U = T> void map(Stream& stream, size_t n, const Arrays<T, I, O, U>& a, const F& f) {
  if (n == 0) return;
  bool wide = true;
  for (const T* p : a.in) wide &= aligned(p);
  for (const U* p : a.out) wide &= aligned(p);
  const size_t size = kPacks * kThreads * (wide ? kWide<T> : 1);
  launch(stream, wide ? map_elements<kWide<T>, T, I, O, U, F> : map_elements<1, T, I, O, U, F>, blocks_for(n, size), kThreads, a, n, f);
}

/** The same, to `out` or, where it is there, to `narrow`. */
template <int I, int O, class T, class F>
void map_either(Stream& stream, size_t n, const T* const (&in)[I], T* const (&out)[O], bf16* const (&narrow)[O], const F& f) {
  const auto to = [&]<class U>(U* const (&outputs)[O]) {
    Arrays<T, I, O, U> a;
    for (int i = 0; i < I; i++) a.in[i] = in[i];
    for (int o = 0; o < O; o++) a.out[o] = outputs[o];
    map<T, I, O>(stream, n, a, f);
  };
  if constexpr (sizeof(T) == 4)
    if (narrow[0]) return to(narrow);
  to(out);
}

}  // namespace g2rpo::cuda
