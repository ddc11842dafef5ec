// The value at which a weighted list, sorted by falling value, reaches a given weight: quickselect. Hot files only.
#pragma once
#include "../../backends/cpu/simd.h"

namespace g2rpo {
namespace G2_SIMD_NS(G2_ISA) {

template <class T> struct Selected {
  T value;
  double above;  // weight of all greater values
};

/**
 * The largest x such that the weights of all values ≥ x sum to at least `wanted`; the smallest value if none do. n ≥ 1; both
 * lists are permuted. `weights` may be null: then every value weighs 1.
 */
template <class T> G2_INLINE Selected<T> select_falling(T* values, T* weights, size_t n, double wanted) {
  double above = 0;
  uint32_t state = 1;
  const auto swap = [&](size_t i, size_t j) {
    const T v = values[i];
    values[i] = values[j];
    values[j] = v;
    if (!weights) return;
    const T w = weights[i];
    weights[i] = weights[j];
    weights[j] = w;
  };
  for (size_t begin = 0, end = n;;) {
    state = state * 1664525u + 1013904223u;
    const T pivot = values[begin + (state >> 8) % (end - begin)];
    // [begin, greater) > pivot, [greater, i) = pivot, [less, end) < pivot
    size_t greater = begin, less = end;
    double greater_weight = 0, equal_weight = 0;
    for (size_t i = begin; i < less;) {
      const double weight = weights ? static_cast<double>(weights[i]) : 1;
      if (values[i] > pivot) {
        greater_weight += weight;
        swap(i++, greater++);
      } else if (values[i] < pivot) {
        swap(i, --less);
      } else {
        equal_weight += weight;
        i++;
      }
    }
    if (greater > begin && above + greater_weight >= wanted) {
      end = greater;
    } else if (above + greater_weight + equal_weight >= wanted || less == end) {
      return {pivot, above + greater_weight};
    } else {
      above += greater_weight + equal_weight;
      begin = less;
    }
  }
}

}  // namespace G2_SIMD_NS(G2_ISA)
}  // namespace g2rpo
