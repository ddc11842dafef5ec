#include "../../backends/cuda/lists.h"
#include "op.h"

namespace g2rpo {

namespace {

/** As `narrow` on the host. */
struct Round {
  __device__ void operator()(size_t, size_t, const float& value, bf16& rounded) const {
    const uint32_t bits = __float_as_uint(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    rounded.bits = static_cast<uint16_t>(nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

constexpr size_t kEach = 8 * cuda::kThreads;  // elements to a block

template <int W> __global__ void round_one(const float* values, size_t count, bf16* rounded) {
  const size_t begin = blockIdx.x * kEach, end = begin + kEach < count ? begin + kEach : count;
  cuda::map_tensor<W>(Round{}, 0, begin, end, values, rounded);
}

}  // namespace

KERNEL(cuda, RoundBf16) {
  if (!lists_agree(stream, op.kName, "rounded", op.rounded, op.values)) return;
  if (op.values.size != 1) return cuda::map_lists(stream, Round{}, op.values, op.rounded);
  // no lists have to be on the device first
  const auto values = op.values[0];
  if (values.size == 0) return;
  const bool wide = cuda::aligned(values.data, op.rounded[0].data);
  cuda::launch(stream, wide ? round_one<cuda::kWide<float>> : round_one<1>, cuda::blocks_for(values.size, kEach), cuda::kThreads, values.data, values.size, op.rounded[0].data);
}

}  // namespace g2rpo
