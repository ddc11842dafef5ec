// Rows of activations and of their gradients, of which some are kept in bf16.
#pragma once
#include <type_traits>

#include "../../core/arena.h"
#include "../../core/dtype.h"

namespace g2rpo::qwen3vl {

/**
 * As arithmetic has them, or rounded to bf16 (Weights::narrow): what matrix products read and would round themselves, and what they leave to
 * ops that go element by element. One of the two is there, or both are the same rows.
 */
template <class T> struct Rows {
  using Narrow = std::conditional_t<std::is_const_v<T>, const bf16, bf16>;
  T* wide = nullptr;
  Narrow* narrow = nullptr;

  Rows() = default;
  Rows(T* wide, Narrow* narrow = nullptr) : wide(wide), narrow(narrow) {}
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
  Rows(const Rows<U>& from) : wide(from.wide), narrow(from.narrow) {}

  /** From element i on. */
  Rows operator+(size_t i) const { return {wide ? wide + i : nullptr, narrow ? narrow + i : nullptr}; }

  static Rows take(size_t count, bool narrow, Scratch& scratch) {
    return narrow ? Rows{nullptr, scratch.take<bf16>(count)} : Rows{scratch.take<T>(count)};
  }

  /** As they are at `there` and, if so it is to be, rounded beside it. */
  static Rows both(T* there, size_t count, bool narrow, Scratch& scratch) { return {there, narrow ? scratch.take<bf16>(count) : nullptr}; }

  /** For a gradient that follows from the one at `there`: in its place, unless in bf16, which has memory of its own. */
  static Rows beside(T* there, size_t count, bool narrow, Scratch& scratch) { return narrow ? take(count, true, scratch) : Rows{there}; }
};

}  // namespace g2rpo::qwen3vl
