// One head turned by its angles. Hot files only.
#pragma once
#include "../../backends/cpu/lanes.h"

namespace g2rpo {

namespace {

using simd::lanes;
using simd::Mask;
using simd::splat;
using simd::Vec;

/** (a, b) become (a·c − b·s, b·c + a·s). */
template <class T> G2_INLINE void turn(Vec<T>& a, Vec<T>& b, Vec<T> c, Vec<T> s) {
  const Vec<T> turned = simd::fma(a, c, -(b * s));
  b = simd::fma(b, c, a * s);
  a = turned;
}

/**
 * x[2·half] in place: (x1, x2) become (x1·c − x2·s, x2·c + x1·s), or what they were before that if `sign` is −1. Stores are of whole vectors, where
 * a head has room for one: behind part of a vector what is read next, beside it, would wait until that has left the core.
 */
template <class T> G2_INLINE void turn_head(T* x, const T* cosine, const T* sine, size_t half, T sign) {
  constexpr size_t L = lanes<T>;
  if (half < L && 2 * half >= L) {
    const size_t last = 2 * half - L;  // where the last vector begins
    Mask<T> lane;
    for (size_t j = 0; j < L; j++) lane[j] = static_cast<int>(j);
    using Index = __typeof__(lane[0] + 0);
    const Mask<T> down = lane + static_cast<Index>(L - half), place = lane + static_cast<Index>(last);
    const Mask<T> joined = place + (~(place < static_cast<Index>(half)) & static_cast<Index>(L - half));
    Vec<T> a = simd::load(x), b = __builtin_shuffle(simd::load(x + last), down);
    turn<T>(a, b, simd::load_n(cosine, half), simd::load_n(sine, half) * splat(sign));
    simd::store(x, a);
    simd::store(x + last, __builtin_shuffle(a, b, joined));
    return;
  }
  const auto turned = [&](size_t i, auto at) G2_INLINED {
    Vec<T> a = at.load(x + i), b = at.load(x + half + i);
    turn<T>(a, b, at.load(cosine + i), at.load(sine + i) * splat(sign));
    at.store(x + i, a);
    at.store(x + half + i, b);
  };
  if (half < L) return turned(0, simd::Part<T>{half});
  // of the last ones, which overlap those before, values are taken before they change
  const size_t whole = half / L * L, last = half - L;
  Vec<T> a{}, b{};
  if (whole < half) a = simd::load(x + last), b = simd::load(x + half + last);
  for (size_t i = 0; i < whole; i += L) turned(i, simd::Whole<T>{});
  if (whole < half) {
    turn<T>(a, b, simd::load(cosine + last), simd::load(sine + last) * splat(sign));
    simd::store(x + last, a);
    simd::store(x + half + last, b);
  }
}

}  // namespace

}  // namespace g2rpo
