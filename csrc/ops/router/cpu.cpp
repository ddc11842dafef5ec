// hot
#include "op.h"

#include "../../backends/cpu/rows.h"

namespace g2rpo {

namespace {
using namespace simd;

/** out[e] = exp(z[e] − max z); their sum. */
template <class T> G2_INLINE T exponentials(const T* z, size_t n, T* out) {
  T top = z[0];
  for (size_t e = 1; e < n; e++) top = z[e] > top ? z[e] : top;
  Vec<T> total{};
  for_lanes<T>(0, n, [&](size_t e, auto at) G2_INLINED {
    const Vec<T> x = simd::exp(at.load(z + e, -__builtin_inff()) - splat(top));
    at.store(out + e, x);
    total += x;
  });
  return sum<T>(total);
}

constexpr size_t kRowsTogether = 64;

}  // namespace

KERNEL_REAL(cpu, Router) {
  const size_t rows = op.logits.dim[0], experts = op.logits.dim[1], active = op.chosen.dim[1];
  if (active < 1 || active > experts)
    return fail(stream, "INVALID_ARGUMENT", "router: the number of experts of a row must be in [1, E]");
  for_blocks(stream, rows, kRowsTogether, [&](size_t begin, size_t end) {
    Scratch scratch;
    T* e = scratch.take<T>(experts);
    for (size_t r = begin; r < end; r++) {
      const T* z = op.logits.data + r * experts;
      int32_t* chosen = op.chosen.data + r * active;
      T* weights = op.weights.data + r * active;
      T total = exponentials(z, experts, e);
      for (size_t i = 0, count = 0; i < experts; i++) {
        if (count == active && !(z[i] > z[chosen[active - 1]])) continue;
        if (count < active) count++;
        size_t a = count - 1;
        for (; a > 0 && z[i] > z[chosen[a - 1]]; a--) chosen[a] = chosen[a - 1];
        chosen[a] = static_cast<int32_t>(i);
      }
      T among{};
      for (size_t a = 0; a < active; a++) among += weights[a] = e[chosen[a]];
      if (op.normalise) total = among;
      for (size_t a = 0; a < active; a++) weights[a] /= total;
    }
  });
}

KERNEL_REAL(cpu, RouterBackward) {
  const size_t rows = op.logits.dim[0], experts = op.logits.dim[1], active = op.chosen.dim[1];
  if (!rows_in_range(stream, "router_backward", "chosen", op.chosen, experts)) return;
  for_blocks(stream, rows, kRowsTogether, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; r++) {
      const size_t at = r * active;
      T* d = op.dLogits.data + r * experts;
      T mean{};
      for (size_t a = 0; a < active; a++) mean += op.weights[at + a] * op.dWeights[at + a];
      if (op.normalise) {
        for (size_t e = 0; e < experts; e++) d[e] = T(0);
      } else {
        const T scale = -mean / exponentials(op.logits.data + r * experts, experts, d);
        for (size_t e = 0; e < experts; e++) d[e] *= scale;
      }
      for (size_t a = 0; a < active; a++)
        d[op.chosen[at + a]] = op.weights[at + a] * (op.dWeights[at + a] - mean);
    }
  });
}

KERNEL(cpu, ExpertGroups) {
  const size_t pairs = op.chosen.size, active = op.chosen.dim[1], experts = op.starts.size - 1;
  if (!rows_in_range(stream, "expert_groups", "chosen", op.chosen, experts)) return;
  for (size_t e = 0; e <= experts; e++) op.starts[e] = 0;
  for (size_t i = 0; i < pairs; i++) op.starts[op.chosen[i] + 1]++;
  for (size_t e = 0; e < experts; e++) op.starts[e + 1] += op.starts[e];
  Scratch scratch;
  int32_t* next = scratch.take<int32_t>(experts);
  for (size_t e = 0; e < experts; e++) next[e] = op.starts[e];
  for (size_t i = 0; i < pairs; i++) {
    const int32_t place = next[op.chosen[i]]++;
    op.order[place] = static_cast<int32_t>(i);
    op.rows[place] = static_cast<int32_t>(i / active);
  }
}

}  // namespace g2rpo
