#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** So many keys, counted from the beginning of a segment, are whole tiles of every forward pass. */
constexpr size_t kAttentionTile = 128;

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
  /**
   * Of the S rows that segments are made of the first ones are keys alone: query, output and logSumExp begin behind them, and no segment
   * is on both sides. A segment whose prefix holds whole tiles of it has the bits that both would have as one.
   */
  size_t keys_before = 0;
  /** operands may be rounded to bf16: those of a policy whose weights are (a GPU's tensor cores want them so, the CPU stays exact) */
  bool in_bf16 = false;
  /** output in bf16, in its place: on a GPU */
  bf16* narrow_output = nullptr;
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
  /** as Attention's */
  bool in_bf16 = false;
  /** both in bf16, in their place: on a GPU */
  const bf16 *narrow_dOutput = nullptr, *narrow_output = nullptr;
  /** dValue in bf16, in its place: there too */
  bf16* narrow_dValue = nullptr;
  G2_INLINE static AttentionBackward read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

/** Keys of a split on a GPU. */
constexpr size_t kDecodeSplit = 64;
/** Elements that splits of rows leave on a GPU: of so many keys as tables of a prefix and of one's own have room for. */
constexpr size_t decode_workspace(size_t rows, size_t heads, size_t width, size_t prefix_room, size_t own_room) {
  return rows * heads * ((prefix_room + kDecodeSplit - 1) / kDecodeSplit + (own_room + kDecodeSplit - 1) / kDecodeSplit) * (width + 2);
}

/**
 * One new token per row against cached keys and values, which lie in pages of C: first those of prefix[b], a line of prefixPages, then
 * the row's own. Of either the length says how many there are.
 */
template <class T> struct DecodeAttention {
  using Real = T;
  static constexpr auto kName = "decode_attention";
  static constexpr auto kSignature =
      "query {f32|f64}[B,H,D], key {f32|f64}[P,C,G,D], value {f32|f64}[P,C,G,D], prefix i32[B], prefixPages "
      "i32[N,E], prefixLength i32[N], ownPages i32[B,F], ownLength i32[B], scale f64 -> output {f32|f64}[B,H,D]";
  View<const T> query;
  View<const T> key;
  View<const T> value;
  View<const int32_t> prefix;
  View<const int32_t> prefixPages;
  View<const int32_t> prefixLength;
  View<const int32_t> ownPages;
  View<const int32_t> ownLength;
  double scale;
  View<T> output;
  // For calls from C++ on a GPU:
  /** as Attention's */
  bool in_bf16 = false;
  /** The tables are known to hold, and nothing is checked. */
  bool checked = false;
  /** output in bf16 as products of few rows take it (thin_product.h), in its place */
  bf16* arranged_output = nullptr;
  /** Memory of decode_workspace() elements, instead of some that is taken and given back in each call. */
  T* workspace = nullptr;
  G2_INLINE static DecodeAttention read(KernelArgs a) {
    return {a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next(), a.next()};
  }
};

}  // namespace g2rpo
