// hot
#include "op.h"

#include "update.h"

namespace g2rpo {

using namespace simd;

KERNEL_WEIGHT(cpu, AdamW) {
  if (!update_arguments_hold(stream, op)) return;
  if (!lists_agree(stream, op.kName, "parameters", op.parameters, op.gradients) ||
      !lists_agree(stream, op.kName, "firstMoments", op.firstMoments, op.gradients) ||
      !lists_agree(stream, op.kName, "secondMoments", op.secondMoments, op.gradients))
    return;
  const AdamWUpdate<T> update(op);
  Scratch scratch;
  ListBlocks(op.gradients.items, op.gradients.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    update.apply(op.gradients[k].data + begin, op.parameters[k].data + begin, op.firstMoments[k].data + begin,
                 op.secondMoments[k].data + begin, end - begin, element_of(op, begin), RoundingWords(op.step, place_of(op, k)));
  });
}

}  // namespace g2rpo
