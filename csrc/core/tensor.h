// What a kernel sees of a tensor: where it lies and how long it is. Views own nothing.
#pragma once
#include "dtype.h"

namespace g2rpo {

constexpr int kMaxRank = 4;

template <class T> struct View {
  T* data = nullptr;
  size_t size = 0;
  /** dimensions as the signature names them, outermost first; kernels called from C++ may leave them 0 */
  size_t dim[kMaxRank] = {0, 0, 0, 0};

  G2_INLINE View() = default;
  G2_INLINE View(T* data, size_t size) : data(data), size(size), dim{size, 0, 0, 0} {}
  G2_INLINE View(T* data, size_t d0, size_t d1) : data(data), size(d0 * d1), dim{d0, d1, 0, 0} {}
  G2_INLINE View(T* data, size_t d0, size_t d1, size_t d2) : data(data), size(d0 * d1 * d2), dim{d0, d1, d2, 0} {}
  template <class U>
    requires(__is_same(const U, T) && !__is_same(U, T))
  G2_INLINE View(const View<U>& v) : data(v.data), size(v.size), dim{v.dim[0], v.dim[1], v.dim[2], v.dim[3]} {}

  G2_INLINE T& operator[](size_t i) const { return data[i]; }
  /** an optional argument that was left out has no data */
  G2_INLINE explicit operator bool() const { return data != nullptr; }
};

/** Some memory of elements whose type is known elsewhere. */
struct RawView {
  void* data;
  size_t size;
};

/** Tensors of one role, like all gradients: views by index. Owns nothing. */
template <class T> struct ViewList {
  const RawView* items = nullptr;
  size_t size = 0;

  G2_INLINE View<T> operator[](size_t i) const { return {static_cast<T*>(items[i].data), items[i].size}; }
};

}  // namespace g2rpo
