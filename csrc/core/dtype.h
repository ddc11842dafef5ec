#pragma once
#include <cstddef>
#include <cstdint>

#define G2_INLINE inline __attribute__((always_inline))

namespace g2rpo {

enum class DType : uint8_t { f32, f64, i32, u8 };

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::u8; };

constexpr size_t size_of(DType t) { return t == DType::f64 ? 8 : t == DType::u8 ? 1 : 4; }
constexpr const char* name_of(DType t) {
  return t == DType::f32 ? "f32" : t == DType::f64 ? "f64" : t == DType::i32 ? "i32" : "u8";
}

}  // namespace g2rpo
