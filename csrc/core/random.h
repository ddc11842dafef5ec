// Random numbers that are a pure function of a key and a counter, so that order and threads do not matter.
#pragma once
#include "dtype.h"

namespace g2rpo {

/** The keys of the ten rounds of Philox4x32-10. */
G2_INLINE void philox_keys(uint32_t key0, uint32_t key1, uint64_t (&rounds)[10][2]) {
  for (int round = 0; round < 10; round++) {
    rounds[round][0] = key0;
    rounds[round][1] = key1;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

/**
 * Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): c becomes four random words. V is uint64_t, or a vector of them for
 * as many counters; only the lower 32 bits of an element mean something, before and after. `multiply(a, m)` is the full
 * product of those lower bits with m.
 */
template <class V, class Multiply> G2_INLINE void philox4x32(V (&c)[4], const uint64_t (&rounds)[10][2], Multiply&& multiply) {
  for (int round = 0; round < 10; round++) {
    const V p0 = multiply(c[0], 0xD2511F53u), p1 = multiply(c[2], 0xCD9E8D57u);
    const V n0 = (p1 >> 32) ^ c[1] ^ rounds[round][0], n2 = (p0 >> 32) ^ c[3] ^ rounds[round][1];
    c[0] = n0;
    c[1] = p1;
    c[2] = n2;
    c[3] = p0;
  }
}

}  // namespace g2rpo
