#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** softmax(scale · q·kᵀ)·v inside segments; segment z sees all keys of segment segmentPrefix[z] (or of none, −1) and its own: up to itself if causal, else all. Query head h uses key head h / (H / G). */
template <class T> struct Attention {
  using Real = T;
  static constexpr auto kName = "attention";
  static constexpr auto kSignature =
      "query {f32|f64}[S,H,D], key {f32|f64}[S,G,D], value {f32|f64}[S,G,D], segmentStarts i32[Z+1], "
      "segmentPrefix i32[Z], causal bool, scale f64 -> output {f32|f64}[S,H,D], logSumExp "
      "{f32|f64}[S,H]";
  View<const T> query;
  View<const T> key;
  View<const T> value;
  View<const int32_t> segmentStarts;
  View<const int32_t> segmentPrefix;
  bool causal;
  double scale;
  View<T> output;
  View<T> logSumExp;
  /** elements from one row to the next of query and dQuery, and of key, value and their gradients; 0: contiguous */
  size_t query_stride = 0, key_stride = 0;
  G2_INLINE static Attention read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** The gradient of Attention; a prefix segment gathers the key and value gradients of all segments that see it, in order. */
template <class T> struct AttentionBackward {
  using Real = T;
  static constexpr auto kName = "attention_backward";
  static constexpr auto kSignature =
      "dOutput {f32|f64}[S,H,D], query {f32|f64}[S,H,D], key {f32|f64}[S,G,D], value {f32|f64}[S,G,D], "
      "output {f32|f64}[S,H,D], logSumExp {f32|f64}[S,H], segmentStarts i32[Z+1], segmentPrefix "
      "i32[Z], causal bool, scale f64 -> dQuery {f32|f64}[S,H,D], dKey {f32|f64}[S,G,D], dValue "
      "{f32|f64}[S,G,D]";
  View<const T> dOutput;
  View<const T> query;
  View<const T> key;
  View<const T> value;
  View<const T> output;
  View<const T> logSumExp;
  View<const int32_t> segmentStarts;
  View<const int32_t> segmentPrefix;
  bool causal;
  double scale;
  View<T> dQuery;
  View<T> dKey;
  View<T> dValue;
  /** elements from one row to the next of query and dQuery, and of key, value and their gradients; 0: contiguous */
  size_t query_stride = 0, key_stride = 0;
  G2_INLINE static AttentionBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** One new token per row against the cached keys and values of its prompt (rows prefixStart… of the prefix cache) and the first ownLength of its own. */
template <class T> struct DecodeAttention {
  using Real = T;
  static constexpr auto kName = "decode_attention";
  static constexpr auto kSignature =
      "query {f32|f64}[B,H,D], prefixKey {f32|f64}[P,G,D], prefixValue {f32|f64}[P,G,D], prefixStart "
      "i32[B], prefixLength i32[B], ownKey {f32|f64}[B,C,G,D], ownValue {f32|f64}[B,C,G,D], ownLength "
      "i32[B], scale f64 -> output {f32|f64}[B,H,D]";
  View<const T> query;
  View<const T> prefixKey;
  View<const T> prefixValue;
  View<const int32_t> prefixStart;
  View<const int32_t> prefixLength;
  View<const T> ownKey;
  View<const T> ownValue;
  View<const int32_t> ownLength;
  double scale;
  View<T> output;
  G2_INLINE static DecodeAttention read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
