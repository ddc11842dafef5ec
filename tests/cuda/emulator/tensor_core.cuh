// In the place of csrc/backends/cuda/ptx/tensor_core.cuh, where what the functions do is written.
#pragma once
#include <cuda_runtime.h>

#include <deque>
#include <vector>

namespace g2rpo::cuda {

inline uint32_t round_to_bf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline uint32_t pack_bf16(float low, float high) { return round_to_bf16(low) | round_to_bf16(high) << 16; }
inline float widened_half(uint32_t pair, unsigned i) { return __uint_as_float(i ? pair & 0xffff0000u : pair << 16); }

inline void load_squares(const void* row, uint32_t (&squares)[4]) {
  const void* rows[32];
  std::memcpy(rows, emulator::warp_exchange(&row, sizeof row), sizeof rows);
  const unsigned l = emulator::lane();
  for (unsigned i = 0; i < 4; i++) squares[i] = static_cast<const uint32_t*>(rows[8 * i + l / 4])[l % 4];
}
inline void load_squares_transposed(const void* row, uint32_t (&squares)[4]) {
  const void* rows[32];
  std::memcpy(rows, emulator::warp_exchange(&row, sizeof row), sizeof rows);
  const unsigned l = emulator::lane();
  const auto at = [&](unsigned i, unsigned r) { return static_cast<uint32_t>(static_cast<const uint16_t*>(rows[8 * i + r])[l / 4]); };
  for (unsigned i = 0; i < 4; i++) squares[i] = at(i, 2 * (l % 4)) | at(i, 2 * (l % 4) + 1) << 16;
}

inline void multiply_squares(const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (&c)[4]) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  uint32_t all[32][6];
  std::memcpy(all, emulator::warp_exchange(mine, sizeof mine), sizeof all);
  const unsigned l = emulator::lane();
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row = l / 4 + (i >= 2 ? 8 : 0), column = 2 * (l % 4) + i % 2;
    float sum = c[i];
    for (unsigned k = 0; k < 16; k++) {
      const unsigned within = k % 8 / 2;  // which lane of four has it
      const uint32_t left = all[row % 8 * 4 + within][(row >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0)], right = all[column * 4 + within][k >= 8 ? 5 : 4];
      sum = fmaf(widened_half(left, k % 2), widened_half(right, k % 2), sum);
    }
    c[i] = sum;
  }
}

inline uint4 load_once(const void* from, bool inside) { return inside ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0}; }

inline float exp2_fast(float x) { return x < -126 ? 0 : exp2f(x); }

/** What a thread has fetched arrives when it waits for it, as late as on a device at worst. */
struct Fetched {
  void* to;
  unsigned char bytes[16];
};
inline std::deque<std::vector<Fetched>>& fetched_groups() {
  static thread_local std::vector<std::deque<std::vector<Fetched>>> of_threads(1024);
  auto& groups = of_threads[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
  if (groups.empty()) groups.emplace_back();
  return groups;
}
inline void fetch(void* to, const void* from, bool inside) {
  Fetched f{to, {}};
  if (inside) std::memcpy(f.bytes, from, sizeof f.bytes);
  fetched_groups().back().push_back(f);
}
inline void close_group() { fetched_groups().emplace_back(); }
template <int Open> void wait_for_groups() {
  auto& groups = fetched_groups();
  while (groups.size() > Open + 1) {
    for (const Fetched& f : groups.front()) std::memcpy(f.to, f.bytes, sizeof f.bytes);
    groups.pop_front();
  }
}

}  // namespace g2rpo::cuda
