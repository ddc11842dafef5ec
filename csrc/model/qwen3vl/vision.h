// The vision tower: pixel rows to one embedding and one deepstack feature per tap for every visual token.
#pragma once
#include <vector>

#include "../../core/arena.h"
#include "../../core/stream.h"
#include "gradients.h"
#include "rows.h"
#include "weights.h"

namespace g2rpo::qwen3vl {

/** A picture or video: frames of bytes with what these become, or rows of patches. All of it where the stream's kernels find it. */
template <class T> struct Shown {
  const uint8_t* frames = nullptr;  // [frames, h · patch, w · patch, 3]
  size_t bytes = 0;                 // of frames
  const float* values = nullptr;    // [3, 256]
  const T* rows = nullptr;          // [patches, patch_size], or null: they are made of frames
};

/** Patches that a grid (t, h, w) holds. */
inline size_t patches_of(const int32_t* grid) { return static_cast<size_t>(grid[0]) * static_cast<size_t>(grid[1]) * static_cast<size_t>(grid[2]); }

template <class T> struct VisionInput {
  std::vector<Shown<T>> shown;
  std::vector<int32_t> grids;  // [shown, 3]: (t, h, w) in patches
  size_t patches() const {
    size_t sum = 0;
    for (size_t g = 0; g < grids.size(); g += 3) sum += patches_of(grids.data() + g);
    return sum;
  }
  size_t tokens(const VisionConfig& c) const { return patches() / c.group(); }
};

/** What the backward needs of a block; pointers into the scratch of the caller. */
template <class T> struct VisionBlockState {
  size_t mark;  // behind x; what is kept of this block and of all that follows it comes then
  T* x;
  // results of matrix products and of attention
  T *qkv, *log_sum_exp, *middle, *hidden;
  Rows<T> attended;
  // what follows from them row by row
  Rows<T> normed1, normed2, activated;
  T *mean1, *rstd1, *mean2, *rstd2;
};
template <class T> struct MergerState {
  const T* x;
  Rows<T> normed;
  T *mean, *rstd, *hidden;
  Rows<T> activated;
};

template <class T> class VisionTower {
 public:
  VisionTower(const Config& config, const Weights<T>& weights) : c_(config), w_(weights) {}

  /** Runs the tower; the features live in `scratch`, and what is kept for the backward pass. */
  void forward(Stream& stream, const VisionInput<T>& input, Keep keep, Scratch& scratch);
  /**
   * Adds to the parameters' gradients, down to the lowest block that is trained. d_features are of `levels`; dX [patches, hidden] has room for a gradient, and
   * has been taken before `forward` was called. `w` are the weights of this tower; gradients go to the sink, part by part, unless it is null. What has been kept of a block is given
   * back to `scratch`, which it was taken from, as soon as nobody reads it any more.
   */
  void backward(Stream& stream, const VisionInput<T>& input, const std::vector<T*>& d_features, T* dX, Weights<T>& w, GradientSink<T>* sink, Scratch& scratch);

  /** The backward pass of a batch without pictures: the sink is handed gradients that are zeros, as they are where gradients are kept. */
  void hand_zeros(Stream& stream, Weights<T>& w, GradientSink<T>* sink) const;

  std::vector<T*> levels;  // [tokens, text hidden] each: the merged features, then those of every tap

 private:
  using State = VisionBlockState<T>;
  void take_products(size_t patches, State& s, Scratch& scratch) const;
  void take_rowwise(size_t patches, State& s, Scratch& scratch) const;
  /** A block, its last product only if there is an `out` for it. Without `products` these are there already, and only what follows from them is computed. */
  void block_forward(Stream& stream, size_t patches, const VisionBlock<T>& weights, const State& s, bool products, T* out);
  /** Adds to the gradients of a block; dX is the gradient of its output and becomes that of its input. */
  void block_backward(Stream& stream, size_t patches, const VisionBlock<T>& weights, const State& s, T* dX);
  /** Writes [patches, patch_size]. Forward and backward pass make them anew: nobody keeps them in between. */
  void write_rows(Stream& stream, const VisionInput<T>& input, T* rows);
  void merge(Stream& stream, size_t patches, const Merger<T>& merger, bool grouped_norm, const T* x, T* out,
             MergerState<T>& state, Scratch& scratch);
  void merge_backward(Stream& stream, size_t patches, const Merger<T>& merger, bool grouped_norm, T* dOut,
                      const MergerState<T>& state, T* dX, Scratch& scratch);

  const Config& c_;
  const Weights<T>& w_;
  bool narrow_ = false;  // what products alone read is kept in bf16
  Keep keep_ = Keep::nothing;
  T *cosine_ = nullptr, *sine_ = nullptr;
  std::vector<int32_t> segment_starts_, segment_prefix_;
  /** lists where ops find them, for as long as the scratch of the input */
  struct {
    View<const int32_t> grids, segment_starts, segment_prefix;
  } in_;
  std::vector<VisionBlockState<T>> blocks_;
  MergerState<T> merger_;
  std::vector<MergerState<T>> taps_;
};

}  // namespace g2rpo::qwen3vl
