#pragma once
#include <cstddef>
#include <cstdint>

#define G2_INLINE inline __attribute__((always_inline))

namespace g2rpo {

enum class DType : uint8_t { f32, f64, i32, u8, bf16 };

/** The upper half of an f32 number: weights may be kept so. Arithmetic is on f32, to which every one widens exactly. */
struct bf16 {
  uint16_t bits;
};
G2_INLINE float widen(bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
G2_INLINE double widen(double x) { return x; }
G2_INLINE float widen(float x) { return x; }
/** The nearest, of two that are as near the even one; what is past the largest becomes infinite, NaN stays NaN. */
G2_INLINE bf16 narrow(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40)};  // rounding could carry it into infinity
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::bf16; };

constexpr size_t size_of(DType t) { return t == DType::f64 ? 8 : t == DType::u8 ? 1 : t == DType::bf16 ? 2 : 4; }
constexpr const char* name_of(DType t) {
  return t == DType::f32 ? "f32" : t == DType::f64 ? "f64" : t == DType::i32 ? "i32" : t == DType::u8 ? "u8" : "bf16";
}

}  // namespace g2rpo
