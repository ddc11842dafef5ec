#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** averages += (1 − decay)·(values − averages), for all tensors. */
template <class T, class W = T> struct Ema {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "ema";
  static constexpr auto kSignature = "values {f32|f64|bf16}[N]*, &averages {f32|f64}[N]*, decay f64 ->";
  ViewList<const W> values;
  ViewList<T> averages;
  double decay;
  G2_INLINE static Ema read(KernelArgs a) { return {a.next(), a.next(), a.next()}; }
};

/** a and b change places, for all tensors. */
template <class T, class W = T> struct EmaExchange {
  using Real = T;
  using Weight = W;
  static constexpr auto kName = "ema_exchange";
  static constexpr auto kSignature = "&a {f32|f64|bf16}[N]*, &b {f32|f64|bf16}[N]* ->";
  ViewList<W> a;
  ViewList<W> b;
  G2_INLINE static EmaExchange read(KernelArgs a) { return {a.next(), a.next()}; }
};

}  // namespace g2rpo
