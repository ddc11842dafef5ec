// hot
#include "op.h"

#include "../../backends/cpu/lists.h"

namespace g2rpo {

using namespace simd;

KERNEL(cpu, RoundBf16) {
  if (!lists_agree(stream, op.kName, "rounded", op.rounded, op.values)) return;
  Scratch scratch;
  ListBlocks(op.values.items, op.values.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    const float* from = op.values[k].data;
    bf16* to = op.rounded[k].data;
    for (size_t i = begin; i < end; i++) to[i] = narrow(from[i]);
  });
}

}  // namespace g2rpo
