// Rows that matrix products alone read.
#pragma once
#include <type_traits>

#include "../../core/arena.h"
#include "../../core/dtype.h"

namespace g2rpo::qwen3vl {

/** As they are; or rounded to bf16, where every product that reads them would round them (Weights::narrow). One of the two is there. */
template <class T> struct Operand {
  using Narrow = std::conditional_t<std::is_const_v<T>, const bf16, bf16>;
  T* wide = nullptr;
  Narrow* narrow = nullptr;

  Operand() = default;
  Operand(T* wide, Narrow* narrow = nullptr) : wide(wide), narrow(narrow) {}
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
  Operand(const Operand<U>& from) : wide(from.wide), narrow(from.narrow) {}

  /** From element i on. */
  Operand operator+(size_t i) const { return {wide ? wide + i : nullptr, narrow ? narrow + i : nullptr}; }

  static Operand take(size_t count, bool narrow, Scratch& scratch) {
    return narrow ? Operand{nullptr, scratch.take<bf16>(count)} : Operand{scratch.take<T>(count)};
  }
};

}  // namespace g2rpo::qwen3vl
