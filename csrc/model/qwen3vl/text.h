// The language model over packed segments: token rows to hidden rows, and back.
#pragma once
#include <vector>

#include "../../core/arena.h"
#include "../../core/stream.h"
#include "gradients.h"
#include "kv_cache.h"
#include "moe.h"
#include "rows.h"
#include "weights.h"

namespace g2rpo::qwen3vl {

/** Rows of token ids in segments: a prompt, or a response that sees all of its prompt's segment. */
struct TextInput {
  std::vector<int32_t> ids;             // [S]; −1 where a visual feature stands
  std::vector<int32_t> positions;       // [3, S]: T, H, W
  std::vector<int32_t> segment_starts;  // [Z+1]
  std::vector<int32_t> segment_prefix;  // [Z]
  std::vector<int32_t> visual_rows;     // [K]: rows of S …
  std::vector<int32_t> visual_source;   // … and the feature that stands there
  size_t rows() const { return ids.size(); }
};

/** Features of the vision tower: merged first, then one per deepstack level; all [features, hidden]. */
template <class T> struct VisualFeatures {
  size_t count = 0;
  std::vector<T*> levels;
};

template <class T> struct TextLayerState {
  size_t mark;  // behind x; what is kept of this layer and of those above it comes then
  T* x;
  // results of matrix products and of attention
  T *q, *k, *v, *log_sum_exp, *middle;
  Rows<T> attended, gate, up;
  // what follows from them row by row
  Rows<T> normed1, normed2, activated;
  T *rstd1, *q_rstd, *k_rstd, *q_roped, *k_roped, *rstd2;
  MoeState<T> moe;  // in the place of gate, up and activated where there are experts
};

template <class T> class TextModel {
 public:
  using State = TextLayerState<T>;
  TextModel(const Config& config, const Weights<T>& weights) : c_(config), w_(weights) {}

  /**
   * Hidden rows before the final norm, in `scratch`, which also keeps what the backward is to find. Of a pass whose rows are `cached`
   * keys and values are kept there, and those before them are found there: its segments begin with as many rows that are not computed.
   */
  T* forward(Stream& stream, const TextInput& input, const VisualFeatures<T>& features, Keep keep, Scratch& scratch,
             const CachedRows<T>* cached = nullptr);
  /** Room for the gradient of the hidden rows, which is there before `forward` is. */
  Rows<T> take_gradient(Stream& stream, size_t rows, Scratch& scratch) const;
  /**
   * Adds to the parameters' gradients; dX is the gradient of the hidden rows and is overwritten. d_features are added to,
   * one per level, if there are visual rows; none are given where nothing of the tower is trained. Ends at the lowest layer
   * of which something is. `w` are the weights of this model; gradients go to the sink, layer by layer, unless it is null. What `forward` has kept of
   * a layer is given back to `scratch`, which it was taken from, as soon as nobody reads it any more.
   */
  void backward(Stream& stream, const TextInput& input, const VisualFeatures<T>& d_features, const Rows<T>& dX, Weights<T>& w, GradientSink<T>* sink, Scratch& scratch);

  /** Cosines and sines of interleaved M-RoPE for positions [3, rows]. */
  void rope_table(Stream& stream, const std::vector<int32_t>& positions, T* cosine, T* sine) const;
  /** y [rows, heads, head_dim] = x normed, and turned by the rows' angles. */
  void norm_heads(Stream& stream, size_t rows, size_t heads, const T* cosine, const T* sine, const T* x, const Parameter<T>& norm, T* y, T* rstd) const;
  /** Room for the results of a layer's matrix products and of attention, some of them in bf16 if `narrow`; before its values there is room for those of `past` rows. */
  void take_products(size_t rows, State& s, Scratch& scratch, size_t past = 0, bool narrow = false) const;

 private:
  /** For what follows from them, and the keys of `past` rows. */
  void take_rowwise(size_t rows, State& s, Scratch& scratch, size_t past) const;
  /** The gradient of that, all rows of the pass; dY may be overwritten. */
  void norm_heads_backward(Stream& stream, size_t rows, size_t heads, T* dY, const T* x, const Parameter<T>& norm, const T* rstd, Rows<T> dX) const;
  /** A layer, its last product only if there is an `out` for it. Without `products` these are there already, and only what follows from them is computed. */
  void layer_forward(Stream& stream, size_t rows, const TextLayer<T>& weights, const State& s, bool products, T* out, size_t past = 0);
  /** Adds to the gradients of a layer; dX is the gradient of its output and becomes that of its input. */
  void layer_backward(Stream& stream, size_t rows, const TextLayer<T>& weights, const State& s, const Rows<T>& dX);

  const Config& c_;
  const Weights<T>& w_;
  bool narrow_ = false;  // what products alone read is kept in bf16
  Keep keep_ = Keep::nothing;
  /** the input's lists where ops find them, for as long as its scratch */
  struct {
    View<const int32_t> ids, segment_starts, segment_prefix, visual_rows, visual_source;
  } in_;
  T *cosine_ = nullptr, *sine_ = nullptr;
  std::vector<TextLayerState<T>> layers_;
};

}  // namespace g2rpo::qwen3vl
