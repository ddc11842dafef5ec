// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, SwiGlu) {
  for_elements<T>(stream, op.y.size, {op.gate.data, op.up.data}, {op.y.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> gate = at.load(op.gate.data + i);
    at.store(op.y.data + i, gate * sigmoid(gate) * at.load(op.up.data + i));
  });
}

KERNEL_REAL(cpu, SwiGluBackward) {
  for_elements<T>(stream, op.dY.size, {op.dY.data, op.gate.data, op.up.data}, {op.dGate.data, op.dUp.data}, [&](size_t i, auto at) G2_INLINED {
    const Vec<T> dy = at.load(op.dY.data + i), gate = at.load(op.gate.data + i), up = at.load(op.up.data + i);
    const Vec<T> s = sigmoid(gate);
    at.store(op.dGate.data + i, dy * up * s * fma(gate, 1 - s, splat(T(1))));
    at.store(op.dUp.data + i, dy * gate * s);
  });
}

}  // namespace g2rpo
