// hot
#include "op.h"

#include "../../backends/cpu/lists.h"

namespace g2rpo {

using namespace simd;

KERNEL_WEIGHT(cpu, Ema) {
  if (!(op.decay >= 0 && op.decay <= 1)) return fail(stream, "INVALID_ARGUMENT", "ema: decay must be in [0, 1]");
  if (!lists_agree(stream, op.kName, "averages", op.averages, op.values)) return;
  const Vec<T> share = splat(static_cast<T>(1 - op.decay));
  Scratch scratch;
  ListBlocks(op.values.items, op.values.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    const W* value = op.values[k].data;
    T* average = op.averages[k].data;
    for_lanes<T>(begin, end, [&](size_t i, auto at) G2_INLINED {
      const Vec<T> held = at.load(average + i);
      at.store(average + i, fma(at.load(value + i) - held, share, held));
    });
  });
}

KERNEL_WEIGHT(cpu, EmaExchange) {
  if (!lists_agree(stream, op.kName, "b", op.b, op.a)) return;
  Scratch scratch;
  ListBlocks(op.a.items, op.a.size, kBlock, scratch).each(stream, [&](size_t k, size_t begin, size_t end, size_t) {
    W *a = op.a[k].data, *b = op.b[k].data;
    for (size_t i = begin; i < end; i++) {
      const W held = a[i];
      a[i] = b[i];
      b[i] = held;
    }
  });
}

}  // namespace g2rpo
