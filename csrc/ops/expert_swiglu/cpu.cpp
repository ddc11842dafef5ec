// hot
#include "op.h"

#include "../../backends/cpu/rows.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, ExpertSwiGlu) {
  const size_t rows = op.order.size, width = op.y.dim[1];
  if (!rows_in_range(stream, "expert_swiglu", "order", op.order, rows) || width == 0) return;
  for_blocks(stream, rows, kBlock / width + 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      const T* gates = op.gateUp.data + 2 * p * width;
      const T* ups = gates + width;
      const Vec<T> weight = splat(op.weights[op.order[p]]);
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> gate = at.load(gates + i);
        at.store(op.y.data + p * width + i, weight * gate * sigmoid(gate) * at.load(ups + i));
      });
    }
  });
}

KERNEL_REAL(cpu, ExpertSwiGluBackward) {
  const size_t rows = op.order.size, width = op.dY.dim[1];
  if (!rows_in_range(stream, "expert_swiglu_backward", "order", op.order, rows)) return;
  for_blocks(stream, rows, kBlock / (width + 1) + 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      const T* gates = op.gateUp.data + 2 * p * width;
      const T* ups = gates + width;
      T* dGates = op.dGateUp.data + 2 * p * width;
      const Vec<T> weight = splat(op.weights[op.order[p]]);
      Vec<T> total{};
      for_lanes<T>(0, width, [&](size_t i, auto at) G2_INLINED {
        const Vec<T> dy = at.load(op.dY.data + p * width + i), gate = at.load(gates + i), up = at.load(ups + i);
        const Vec<T> s = sigmoid(gate), silu = gate * s;
        total = fma(dy * silu, up, total);
        at.store(dGates + i, weight * dy * up * s * fma(gate, 1 - s, splat(T(1))));
        at.store(dGates + width + i, weight * dy * silu);
      });
      op.dWeights[op.order[p]] = sum<T>(total);
    }
  });
}

}  // namespace g2rpo
