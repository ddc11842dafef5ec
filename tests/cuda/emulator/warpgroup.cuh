// In the place of csrc/backends/cuda/ptx/warpgroup.cuh, where what the functions do is written. Products and copies are done at the last moment, when somebody
// waits for them; descriptors are read and addresses changed as a device does it.
#pragma once
#include "tensor_core.cuh"

#include <array>

namespace g2rpo::cuda {

constexpr bool kWarpgroupCode = true;
inline void fail_without_code() { std::abort(); }

extern thread_local uint4 dynamic_shared[];

/** Dynamic shared memory begins behind something else: aligned to no more than 16 bytes. */
constexpr uint32_t kSharedBegins = 1040;
inline uint32_t shared_address(const void* at) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(at) - reinterpret_cast<const unsigned char*>(dynamic_shared)) + kSharedBegins;
}
inline unsigned char* shared_memory(uint32_t address) { return reinterpret_cast<unsigned char*>(dynamic_shared) + (address - kSharedBegins); }

using Barrier = uint64_t;
struct BarrierState {
  uint16_t arrivals, missing;
  uint32_t phase : 1, bytes : 31;  // bytes: expected and not there, modulo 2³¹
};
static_assert(sizeof(BarrierState) == sizeof(Barrier));
template <class F> void change_barrier(Barrier& barrier, F&& change) {
  BarrierState state;
  std::memcpy(&state, &barrier, sizeof state);
  change(state);
  if (state.missing == 0 && state.bytes == 0) state.missing = state.arrivals, state.phase ^= 1;
  std::memcpy(&barrier, &state, sizeof state);
  emulator::moved();
}
inline void begin_barrier(Barrier& barrier, unsigned arrivals) {
  const BarrierState state{static_cast<uint16_t>(arrivals), static_cast<uint16_t>(arrivals), 0, 0};
  std::memcpy(&barrier, &state, sizeof state);
}
inline void publish_barriers() {}
inline void arrive(Barrier& barrier) {
  change_barrier(barrier, [](BarrierState& s) {
    if (s.missing-- == 0) std::abort();
  });
}
inline void arrive_expecting(Barrier& barrier, unsigned bytes) {
  change_barrier(barrier, [&](BarrierState& s) {
    s.bytes += bytes;
    if (s.missing-- == 0) std::abort();
  });
}

struct BulkCopy {
  void* to;
  const void* from;
  unsigned bytes;
  Barrier* barrier;
};
inline std::vector<BulkCopy>& bulk_copies() {
  static thread_local std::vector<BulkCopy> copies;
  return copies;
}
inline void copy_bulk(void* to, const void* from, unsigned bytes, Barrier& barrier) {
  if (bytes == 0 || bytes % 16 || reinterpret_cast<uintptr_t>(from) % 16 || shared_address(to) % 16) std::abort();
  bulk_copies().push_back({to, from, bytes, &barrier});
}
inline void wait(Barrier& barrier, unsigned parity) {
  for (;;) {
    auto& copies = bulk_copies();
    for (size_t i = 0; i < copies.size();) {
      if (copies[i].barrier != &barrier) {
        i++;
        continue;
      }
      const BulkCopy copy = copies[i];
      copies.erase(copies.begin() + static_cast<ptrdiff_t>(i));
      std::memcpy(copy.to, copy.from, copy.bytes);
      change_barrier(barrier, [&](BarrierState& s) { s.bytes -= copy.bytes; });
    }
    BarrierState state;
    std::memcpy(&state, &barrier, sizeof state);
    if (state.phase != parity) return;
    emulator::wait_a_turn();
  }
}
inline void publish_to_products() {}
template <int Count> void give_registers() {}
template <int Count> void take_registers() {}

/** An operand by its descriptor; i counts rows of A or columns of B. */
class Described {
 public:
  Described(uint64_t descriptor, bool k_along) : k_along_(k_along), start_(field(descriptor, 0)), leading_(field(descriptor, 16)), stride_(field(descriptor, 32)) {
    const auto mode = static_cast<unsigned>(descriptor >> 62);
    if (mode == 0 || (descriptor >> 46 & 0xffff) != 0) std::abort();  // without a swizzle, or with a base offset: not needed
    row_ = 8 - mode;
  }
  float at(unsigned i, unsigned k) const {
    const unsigned along = row_ - 1;  // elements of a row of the pattern
    const uint32_t offset = k_along_ ? i / 8 * stride_ + (i % 8 << row_) + 2 * k : (i >> along) * leading_ + 2 * (i & ((1u << along) - 1)) + k / 8 * stride_ + (k % 8 << row_);
    const uint32_t address = start_ + offset;
    uint16_t bits;
    std::memcpy(&bits, shared_memory(address ^ (address >> 7 & ((1u << (row_ - 4)) - 1)) << 4), sizeof bits);
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  }

 private:
  static uint32_t field(uint64_t descriptor, unsigned bit) { return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4; }
  bool k_along_;
  uint32_t start_, leading_, stride_;
  unsigned row_;  // bytes of a row of the pattern, as a power of two
};

/** One thread's part of a product that has been started. */
struct StartedProduct {
  float (*sum)[4];
  unsigned columns;
  bool held, add;
  std::array<std::array<float, 16>, 2> rows;  // of A, where registers held it
  uint64_t a, b;

  void run() {
    const unsigned thread = threadIdx.x % 128, lane = thread % 32, row = thread / 32 * 16 + lane / 4;
    const Described right_of(b, !held);
    if (!held) {
      const Described left_of(a, true);
      for (unsigned half = 0; half < 2; half++)
        for (unsigned k = 0; k < 16; k++) rows[half][k] = left_of.at(row + 8 * half, k);
    }
    for (unsigned column = 0; column < columns; column += 8)
      for (unsigned e = 0; e < 2; e++) {
        float right[16];
        for (unsigned k = 0; k < 16; k++) right[k] = right_of.at(column + lane % 4 * 2 + e, k);
        for (unsigned half = 0; half < 2; half++) {
          float& to = sum[column / 8][2 * half + e];
          float total = add ? to : 0;
          for (unsigned k = 0; k < 16; k++) total = fmaf(rows[half][k], right[k], total);
          to = total;
        }
      }
  }
};
inline std::deque<std::vector<StartedProduct>>& product_groups() {
  static thread_local std::vector<std::deque<std::vector<StartedProduct>>> of_threads(1024);
  auto& groups = of_threads[threadIdx.x];
  if (groups.empty()) groups.emplace_back();
  return groups;
}
inline void begin_products() {}
inline void close_products() { product_groups().emplace_back(); }
template <int Open> void wait_for_products() {
  __syncwarp();
  auto& groups = product_groups();
  while (groups.size() > Open + 1) {
    for (StartedProduct& each : groups.front()) each.run();
    groups.pop_front();
  }
}
template <int M> void done(float (&)[M][4]) {}

template <int N, int First, int M> void multiply_shared(float (&sum)[M][4], uint64_t a, uint64_t b, bool add) {
  static_assert(First + N / 8 <= M);
  product_groups().back().push_back({sum + First, N, false, add, {}, a, b});
}
template <int N, int First, int M> void multiply_held(float (&sum)[M][4], const uint32_t (&a)[4], uint64_t b) {
  static_assert(First + N / 8 <= M);
  uint32_t all[32][4];
  std::memcpy(all, emulator::warp_exchange(a, sizeof a), sizeof all);
  StartedProduct product{sum + First, N, true, true, {}, 0, b};
  for (unsigned half = 0; half < 2; half++)
    for (unsigned k = 0; k < 16; k++) product.rows[half][k] = widened_half(all[emulator::lane() / 4 * 4 + k % 8 / 2][half + k / 8 * 2], k % 2);
  product_groups().back().push_back(product);
}

}  // namespace g2rpo::cuda
