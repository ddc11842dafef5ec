// A dense layer of a step of decoding with weights in bf16: what ops do one after the other, joined so that few launches are left. Of up to kThinRows rows;
// a row's bits are its own. From C++ alone, and for NVIDIA GPUs alone; what arithmetic is done is that of linear, rms_norm, rotary and swiglu.
#pragma once
#include <algorithm>

#include "../../backends/cuda/thin_shape.h"
#include "../../core/kernel.h"

namespace g2rpo {

/** Sizes of a layer. */
struct DecodeSizes {
  size_t rows, hidden, heads, key_heads, width, mlp;
  double epsilon;

  size_t query_size() const { return heads * width; }
  size_t key_size() const { return key_heads * width; }
  bool joined() const {
    const bool widths = width == 32 || width == 64 || width == 128;
    return rows <= cuda::kThinRows && widths && hidden % 32 == 0 && hidden <= 8192 && mlp % 32 == 0;
  }
  /** Elements of what products leave behind: parts of sums, of one product at a time. */
  size_t sums() const {
    const size_t keys = key_size(), tiles = cuda::thin_tiles(query_size()) + 2 * cuda::thin_tiles(keys);
    const auto of = [&](size_t tiles, size_t k, size_t n) { return cuda::thin_parts(tiles, k) * rows * n; };
    return std::max({of(tiles, hidden, query_size() + 2 * keys), of(cuda::thin_tiles(hidden), query_size(), hidden), of(2 * cuda::thin_tiles(mlp), hidden, 2 * mlp),
                     of(cuda::thin_tiles(hidden), mlp, hidden)});
  }
};

/** normed = the RMS norm of x, as products of few rows take it. */
struct DecodeBegin {
  static constexpr auto kName = "decode_begin";
  static constexpr auto kSignature = "";
  DecodeSizes sizes;
  const float *x, *norm;
  bf16* normed;
  static DecodeBegin read(KernelArgs) { return {}; }
};

/** Queries, keys and values of rows: products, norms of heads, rotation; keys and values go into their slots of the cache. */
struct DecodeHeads {
  static constexpr auto kName = "decode_heads";
  static constexpr auto kSignature = "";
  DecodeSizes sizes;
  const bf16 *normed, *q, *k, *v;
  const float *q_norm, *k_norm, *cosine, *sine;
  const int32_t* slots;
  float *sums, *query, *keys, *values;
  static DecodeHeads read(KernelArgs) { return {}; }
};

/** What follows attention: x += attended·oᵀ, then x += the MLP of its norm; `normed` by the norm that comes next, in f32 where there is no further layer. */
struct DecodeRest {
  static constexpr auto kName = "decode_rest";
  static constexpr auto kSignature = "";
  DecodeSizes sizes;
  const bf16 *attended, *o, *gate, *up, *down;  // attended: as products of few rows take it
  const float *post_norm, *next_norm;
  float *x, *sums;
  bf16 *normed, *narrow;  // narrow: room for rows of mlp
  float* last;            // or null
  static DecodeRest read(KernelArgs) { return {}; }
};

}  // namespace g2rpo
