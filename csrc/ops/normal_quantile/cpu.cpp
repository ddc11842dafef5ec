// hot
#include "op.h"
#include "quantile.h"

namespace g2rpo {

KERNEL(cpu, NormalQuantile) {
  const size_t n = op.p.size;
  parallel_for(stream, (n + kQuantiles - 1) / kQuantiles, [&](size_t c) {
    const size_t i = c * kQuantiles;
    quantiles_of(op.p.data + i, n - i < kQuantiles ? n - i : kQuantiles, op.quantiles.data + i);
  });
}

}  // namespace g2rpo
