// One head turned by its angles. Hot files only.
#pragma once
#include "../../backends/cpu/lanes.h"

namespace g2rpo {

namespace {

/** x[2·half] in place: (x1, x2) become (x1·c − x2·s, x2·c + x1·s), or what they were before that if `sign` is −1. */
template <class T> G2_INLINE void turn_head(T* x, const T* cosine, const T* sine, size_t half, T sign) {
  simd::for_lanes<T>(0, half, [&](size_t i, auto at) G2_INLINED {
    const simd::Vec<T> c = at.load(cosine + i), sn = at.load(sine + i) * simd::splat(sign);
    const simd::Vec<T> a = at.load(x + i), b = at.load(x + half + i);
    at.store(x + i, simd::fma(a, c, -(b * sn)));
    at.store(x + half + i, simd::fma(b, c, a * sn));
  });
}

}  // namespace

}  // namespace g2rpo
