// The race for a row's token on the device: random numbers by id, clocks, and the best of a block.
#pragma once
#include <cmath>

#include "../../backends/cuda/device.h"
#include "arguments.h"

namespace g2rpo {

namespace {

constexpr size_t kGroup = 64;           // ids of 16 calls of Philox, see lib/kernels/sample.ts
constexpr int32_t kNobody = INT32_MAX;  // in place of an id

/** A product that is rounded before anything is added to it: the largest logit less itself is to be 0. */
__device__ inline float times(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double times(double a, double b) { return __dmul_rn(a, b); }

template <class T> struct Best {
  T score;
  int32_t id;
  /** Of equals the lower id. */
  __device__ void offer(T other, int32_t other_id) {
    if (other > score || (other == score && other_id < id)) score = other, id = other_id;
  }
  /** The best of a warp, in every lane. */
  __device__ void over_warp() {
    for (int by = 16; by > 0; by /= 2) {
      const T other = __shfl_xor_sync(~0u, score, by);
      offer(other, __shfl_xor_sync(~0u, id, by));
    }
  }
};

/** The best of a block of whole warps, in every thread; `partial` holds 32 and is free afterwards. */
template <class T> __device__ Best<T> best_of_block(Best<T> own, Best<T>* partial) {
  own.over_warp();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = own;
  __syncthreads();
  own = partial[threadIdx.x % 32 < blockDim.x / 32 ? threadIdx.x % 32 : 0];
  own.over_warp();
  __syncthreads();
  return own;
}

/** Philox4x32-10 of the counter (rollout, token, block, 0) under the key (seed, step). */
struct Words {
  uint32_t word[4];
};
__device__ inline Words philox(const int32_t* key, uint32_t block) {
  uint32_t c[4] = {static_cast<uint32_t>(key[2]), static_cast<uint32_t>(key[3]), block, 0};
  uint32_t k0 = static_cast<uint32_t>(key[0]), k1 = static_cast<uint32_t>(key[1]);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint64_t first = uint64_t{c[0]} * 0xD2511F53u, second = uint64_t{c[2]} * 0xCD9E8D57u;
    c[0] = static_cast<uint32_t>(second >> 32) ^ c[1] ^ k0, c[1] = static_cast<uint32_t>(second);
    c[2] = static_cast<uint32_t>(first >> 32) ^ c[3] ^ k1, c[3] = static_cast<uint32_t>(first);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}
/** Word w of a call belongs to this id; `call` counts through those of a row. */
__device__ inline size_t id_of(size_t call, size_t w) { return call / 16 * kGroup + 16 * w + call % 16; }
/** The 31 random bits of one id. */
__device__ inline uint32_t bits_of(const int32_t* key, size_t id) {
  const Words random = philox(key, static_cast<uint32_t>(id / kGroup * 16 + id % 16));
  const size_t w = id % kGroup / 16;
  return (w == 0 ? random.word[0] : w == 1 ? random.word[1] : w == 2 ? random.word[2] : random.word[3]) >> 1;
}

/** weight / clock, the clock being −log(1 − u), u = (bits + ½) / 2³¹, but never 1: f32 may round up to it. */
__device__ inline float race(float weight, uint32_t bits) {
  return __fdividef(weight, -log1pf(-fminf((static_cast<float>(bits) + 0.5f) * (1.0f / 2147483648), 1 - 1.0f / (1 << 24))));
}
__device__ inline double race(double weight, uint32_t bits) { return weight / -log1p(-(static_cast<double>(bits) + 0.5) * (1.0 / 2147483648)); }

/** A row's logits as sampling sees them: repetition penalty, banned ids, temperature. */
template <class T> struct Adjusted {
  const T* logits;
  const uint8_t *seen, *allowed;
  T scale, penalty;
  __device__ T operator()(size_t v) const {
    if (allowed && !allowed[v]) return T(-INFINITY);
    T z = logits[v];
    if (seen && seen[v]) z = z > 0 ? z / penalty : z * penalty;
    return times(z, scale) + 0;  // −0 is 0
  }
};

}  // namespace

}  // namespace g2rpo
