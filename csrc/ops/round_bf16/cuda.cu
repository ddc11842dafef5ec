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

}  // namespace

KERNEL(cuda, RoundBf16) {
  if (!lists_agree(stream, op.kName, "rounded", op.rounded, op.values)) return;
  cuda::map_lists(stream, Round{}, op.values, op.rounded);
}

}  // namespace g2rpo
