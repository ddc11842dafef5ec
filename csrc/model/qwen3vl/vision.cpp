#include "vision.h"

#include <cmath>
#include <optional>
#include <utility>

#include "../../ops/attention/op.h"
#include "../../ops/gelu/op.h"
#include "../../ops/patch_rows/op.h"
#include "../../ops/position_embedding/op.h"
#include "../../ops/rotary/op.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

namespace {

/** Row and column of every patch in merge order: [2, patches]. */
std::vector<int32_t> patch_coordinates(const std::vector<int32_t>& grids, size_t merge, size_t patches) {
  std::vector<int32_t> at(2 * patches);
  size_t i = 0;
  const auto m = static_cast<int32_t>(merge);
  for (size_t g = 0; g < grids.size(); g += 3)
    for (int32_t t = 0; t < grids[g]; t++)
      for (int32_t br = 0; br < grids[g + 1]; br += m)
        for (int32_t bc = 0; bc < grids[g + 2]; bc += m)
          for (int32_t r = br; r < br + m; r++)
            for (int32_t c = bc; c < bc + m; c++, i++) {
              at[i] = r;
              at[patches + i] = c;
            }
  return at;
}

/** f_i = 10000^(−2i / (D/2)), once for rows and once for columns. */
template <class T> std::vector<T> vision_frequencies(size_t head_dim) {
  const size_t per_axis = head_dim / 4;
  std::vector<T> f(2 * per_axis);
  for (size_t i = 0; i < per_axis; i++)
    f[i] = f[per_axis + i] = static_cast<T>(std::pow(10000.0, -2.0 * static_cast<double>(i) / (static_cast<double>(head_dim) / 2)));
  return f;
}

}  // namespace

template <class T>
void VisionTower<T>::merge(Stream& stream, size_t patches, const Merger<T>& merger, bool grouped_norm, const T* x, T* out,
                           MergerState<T>& s, Scratch& scratch) {
  const size_t tokens = patches / c_.vision.group(), wide = c_.vision.hidden * c_.vision.group();
  const size_t rows = grouped_norm ? tokens : patches, size = grouped_norm ? wide : c_.vision.hidden;
  const auto operand = [&] { return Rows<T>::take(tokens * wide, narrow_, scratch); };
  s = {x, operand(), scratch.take<T>(rows), scratch.take<T>(rows), scratch.take<T>(tokens * wide), operand()};
  layer_norm(stream, rows, size, x, merger.norm, c_.vision.epsilon, s.normed, s.mean, s.rstd);
  linear(stream, tokens, wide, wide, s.normed, merger.fc1.weight, s.hidden, &merger.fc1.bias);
  run(stream, GeluErf<T>{matrix<const T>(s.hidden, tokens, wide), matrix(s.activated.wide, tokens, wide), s.activated.narrow});
  linear(stream, tokens, wide, c_.text.hidden, s.activated, merger.fc2.weight, out, &merger.fc2.bias);
}

template <class T>
void VisionTower<T>::merge_backward(Stream& stream, size_t patches, const Merger<T>& merger, bool grouped_norm, T* dOut,
                                    const MergerState<T>& s, T* dX, Scratch& scratch) {
  const size_t tokens = patches / c_.vision.group(), wide = c_.vision.hidden * c_.vision.group();
  const size_t rows = grouped_norm ? tokens : patches, size = grouped_norm ? wide : c_.vision.hidden;
  T* a = scratch.take<T>(tokens * wide);
  T* b = scratch.take<T>(tokens * wide);
  const auto d_hidden = Rows<T>::beside(a, tokens * wide, narrow_, scratch);
  linear_backward(stream, tokens, wide, c_.text.hidden, both_ways(stream, dOut, tokens * c_.text.hidden, narrow_, scratch), s.activated, merger.fc2.weight,
                  &merger.fc2.bias, a);
  run(stream, GeluErfBackward<T>{matrix<const T>(a, tokens, wide), matrix<const T>(s.hidden, tokens, wide), matrix(d_hidden.wide, tokens, wide), d_hidden.narrow});
  linear_backward(stream, tokens, wide, wide, d_hidden, s.normed, merger.fc1.weight, &merger.fc1.bias, b);
  // dX already holds what comes from the blocks above; where it is not wanted, the norm's own gradients still are
  layer_norm_backward<T>(stream, rows, size, b, s.x, merger.norm, s.mean, s.rstd, dX, dX ? dX : b);
}

template <class T> void VisionTower<T>::take_products(size_t n, State& s, Scratch& scratch) const {
  const auto& v = c_.vision;
  s.qkv = scratch.take<T>(n * 3 * v.hidden);
  s.attended = Rows<T>::take(n * v.hidden, narrow_, scratch);
  s.log_sum_exp = scratch.take<T>(n * v.heads);
  s.middle = scratch.take<T>(n * v.hidden);
  s.hidden = scratch.take<T>(n * v.mlp);
}

template <class T> void VisionTower<T>::take_rowwise(size_t n, State& s, Scratch& scratch) const {
  const auto& v = c_.vision;
  s.normed1 = Rows<T>::take(n * v.hidden, narrow_, scratch);
  s.mean1 = scratch.take<T>(n);
  s.rstd1 = scratch.take<T>(n);
  s.normed2 = Rows<T>::take(n * v.hidden, narrow_, scratch);
  s.mean2 = scratch.take<T>(n);
  s.rstd2 = scratch.take<T>(n);
  s.activated = Rows<T>::take(n * v.mlp, narrow_, scratch);
}

template <class T>
void VisionTower<T>::block_forward(Stream& stream, size_t n, const VisionBlock<T>& weights, const State& s, bool products, T* out) {
  const auto& v = c_.vision;
  const size_t h = v.hidden, d = v.head_dim();
  Scratch scratch(stream);
  VisionBlock<T> w = weights;
  const size_t before = block_of_rows<T>(stream, n, 3 * h * h), after = block_of_rows<T>(stream, n, h * h + 2 * h * v.mlp);
  if (products && before < n) pack(stream, h, 3 * h, w.qkv.weight, scratch);
  if (products && after < n) {
    pack(stream, h, h, w.proj.weight, scratch);
    pack(stream, h, v.mlp, w.fc1.weight, scratch);
  }
  if (out && after < n) pack(stream, v.mlp, h, w.fc2.weight, scratch);
  in_row_blocks(stream, n, before, [&](size_t r, size_t m) {
    layer_norm(stream, m, h, s.x + r * h, w.norm1, v.epsilon, s.normed1 + r * h, s.mean1 + r, s.rstd1 + r);
    if (!products) return;
    T* qkv = s.qkv + r * 3 * h;
    linear(stream, m, h, 3 * h, s.normed1 + r * h, w.qkv.weight, qkv, &w.qkv.bias);
    Rotary<T> rotary{matrix<const T>(cosine_ + r * d / 2, m, d / 2), matrix<const T>(sine_ + r * d / 2, m, d / 2),
                     cube(qkv, m, 2 * v.heads, d), false};
    rotary.row_stride = 3 * h;
    run(stream, rotary);
  });
  if (products) {
    Attention<T> attention{cube<const T>(s.qkv, n, v.heads, d),
                           cube<const T>(s.qkv + h, n, v.heads, d),
                           cube<const T>(s.qkv + 2 * h, n, v.heads, d),
                           in_.segment_starts,
                           in_.segment_prefix,
                           false,
                           1 / std::sqrt(static_cast<double>(d)),
                           cube(s.attended.wide, n, v.heads, d),
                           matrix(s.log_sum_exp, n, v.heads)};
    attention.query_stride = attention.key_stride = 3 * h;
    attention.in_bf16 = w.qkv.weight.narrow != nullptr;
    attention.narrow_output = s.attended.narrow;
    run(stream, attention);
  }
  in_row_blocks(stream, n, after, [&](size_t r, size_t m) {
    T *middle = s.middle + r * h, *hidden = s.hidden + r * v.mlp;
    const auto normed = s.normed2 + r * h, activated = s.activated + r * v.mlp;
    if (products) linear(stream, m, h, h, s.attended + r * h, w.proj.weight, middle, &w.proj.bias, s.x + r * h);
    layer_norm(stream, m, h, middle, w.norm2, v.epsilon, normed, s.mean2 + r, s.rstd2 + r);
    if (products) linear(stream, m, h, v.mlp, normed, w.fc1.weight, hidden, &w.fc1.bias);
    run(stream, GeluTanh<T>{matrix<const T>(hidden, m, v.mlp), matrix(activated.wide, m, v.mlp), activated.narrow});
    if (out) linear(stream, m, v.mlp, h, activated, w.fc2.weight, out + r * h, &w.fc2.bias, middle);
  });
}

template <class T> void VisionTower<T>::write_rows(Stream& stream, const VisionInput<T>& input, T* rows) {
  const auto& v = c_.vision;
  const size_t count = input.shown.size();
  for (size_t k = 0, end; k < count; k = end) {  // those whose bytes become the same numbers together
    const auto& first = input.shown[k];
    std::vector<RawView> frames;
    size_t patches = 0;
    for (end = k; end < count && (end == k || (first.values && input.shown[end].values == first.values)); end++) {
      frames.push_back({const_cast<uint8_t*>(input.shown[end].frames), input.shown[end].bytes});
      patches += patches_of(input.grids.data() + 3 * end);
    }
    if (first.rows) copy(stream, rows, first.rows, patches * v.patch_size());
    else
      run(stream, PatchRows<T>{{frames.data(), frames.size()}, matrix(in_.grids.data + 3 * k, frames.size(), 3), matrix(first.values, 3, 256),
                               matrix(rows, patches, v.patch_size()), static_cast<int32_t>(v.patch), static_cast<int32_t>(v.merge)});
    rows += patches * v.patch_size();
  }
}

template <class T> void VisionTower<T>::forward(Stream& stream, const VisionInput<T>& input, Keep keep, Scratch& features) {
  const auto& v = c_.vision;
  const size_t n = input.patches(), h = v.hidden, tokens = input.tokens(v), d = v.head_dim();
  keep_ = keep;
  narrow_ = stream.accelerator && w_.narrow;
  levels.clear();
  for (size_t k = 0; k <= v.taps.size(); k++) levels.push_back(features.take<T>(tokens * c_.text.hidden));
  std::optional<Scratch> passing;  // of what nobody reads when the features are there
  Scratch& scratch = keep == Keep::nothing ? passing.emplace(stream) : features;

  segment_starts_ = {0};  // each temporal patch of each grid is a segment of its own
  for (size_t g = 0; g < input.grids.size(); g += 3)
    for (int32_t t = 0; t < input.grids[g]; t++)
      segment_starts_.push_back(segment_starts_.back() + input.grids[g + 1] * input.grids[g + 2]);
  segment_prefix_.assign(segment_starts_.size() - 1, -1);
  in_ = {on_device(stream, input.grids, scratch), on_device(stream, segment_starts_, scratch), on_device(stream, segment_prefix_, scratch)};
  in_.grids = matrix(in_.grids.data, in_.grids.size / 3, 3);

  const auto coordinates = patch_coordinates(input.grids, v.merge, n);
  const auto frequencies = vision_frequencies<T>(d);
  std::vector<int32_t> axis(d / 2);
  for (size_t i = 0; i < axis.size(); i++) axis[i] = i < d / 4 ? 0 : 1;
  cosine_ = scratch.take<T>(n * d / 2);
  sine_ = scratch.take<T>(n * d / 2);
  {
    Scratch inner(stream);
    run(stream, RotaryTable<T>{matrix(on_device(stream, coordinates, inner).data, 2, n), on_device(stream, axis, inner),
                               on_device(stream, frequencies, inner), matrix(cosine_, n, d / 2), matrix(sine_, n, d / 2)});
  }

  T* x = scratch.take<T>(n * h);
  {
    Scratch inner(stream);
    T* rows = inner.take<T>(n * v.patch_size());
    write_rows(stream, input, rows);
    linear(stream, n, v.patch_size(), h, rows, w_.patch.weight, x, &w_.patch.bias);
  }
  run(stream, PositionEmbedding<T>{in_.grids,
                                   matrix<const T>(w_.positions.weight, v.positions, h), matrix(x, n, h),
                                   static_cast<int32_t>(v.merge)});

  State shared{};  // where what is not kept is written, block after block
  if (keep < Keep::products) take_products(n, shared, scratch);
  if (keep < Keep::everything) take_rowwise(n, shared, scratch);
  T* other = keep == Keep::nothing ? scratch.take<T>(n * h) : nullptr;

  blocks_.clear();
  taps_.assign(v.taps.size(), {});
  for (size_t b = 0; b < v.depth; b++) {
    const auto& w = w_.blocks[b];
    State s = shared;
    s.mark = scratch.mark(), s.x = x;
    if (keep >= Keep::products) take_products(n, s, scratch);
    if (keep >= Keep::everything) take_rowwise(n, s, scratch);
    if (other) std::swap(x, other);
    else x = scratch.take<T>(n * h);
    block_forward(stream, n, w, s, true, x);
    blocks_.push_back(s);
    for (size_t k = 0; k < v.taps.size(); k++) {
      if (static_cast<size_t>(v.taps[k]) != b) continue;
      merge(stream, n, w_.deepstack[k], true, x, levels[1 + k], taps_[k], scratch);
    }
  }
  merge(stream, n, w_.merger, false, x, levels[0], merger_, scratch);
}

template <class T> void VisionTower<T>::block_backward(Stream& stream, size_t n, const VisionBlock<T>& w, const State& s, T* dX) {
  const auto& v = c_.vision;
  const size_t h = v.hidden, d = v.head_dim();
  Scratch scratch(stream);
  T* d_activated = narrow_ ? scratch.take<T>(n * v.mlp) : s.activated.wide;  // which nobody reads any more then
  const auto d_hidden = Rows<T>::beside(d_activated, n * v.mlp, narrow_, scratch);
  T* d_rows = scratch.take<T>(n * h);
  const auto d_attended = Rows<T>::beside(d_rows, n * h, narrow_, scratch);
  T* d_qkv = scratch.take<T>(n * 3 * h);
  const auto d_product = Rows<T>::beside(d_qkv, n * 3 * h, narrow_, scratch);
  const Rows<T> handed = both_ways(stream, dX, n * h, narrow_, scratch);
  if (keep_ < Keep::everything) block_forward(stream, n, w, s, keep_ < Keep::products, nullptr);
  linear_backward(stream, n, v.mlp, h, handed, s.activated, w.fc2.weight, &w.fc2.bias, d_activated);
  run(stream, GeluTanhBackward<T>{matrix<const T>(d_activated, n, v.mlp), matrix<const T>(s.hidden, n, v.mlp), matrix(d_hidden.wide, n, v.mlp), d_hidden.narrow});
  linear_backward(stream, n, h, v.mlp, d_hidden, s.normed2, w.fc1.weight, &w.fc1.bias, d_rows);
  layer_norm_backward<T>(stream, n, h, d_rows, s.middle, w.norm2, s.mean2, s.rstd2, dX, handed);

  linear_backward(stream, n, h, h, handed, s.attended, w.proj.weight, &w.proj.bias, d_attended);
  AttentionBackward<T> attention{cube<const T>(d_attended.wide, n, v.heads, d),
                                 cube<const T>(s.qkv, n, v.heads, d),
                                 cube<const T>(s.qkv + h, n, v.heads, d),
                                 cube<const T>(s.qkv + 2 * h, n, v.heads, d),
                                 cube<const T>(s.attended.wide, n, v.heads, d),
                                 matrix<const T>(s.log_sum_exp, n, v.heads),
                                 in_.segment_starts,
                                 in_.segment_prefix,
                                 false,
                                 1 / std::sqrt(static_cast<double>(d)),
                                 cube(d_qkv, n, v.heads, d),
                                 cube(d_qkv + h, n, v.heads, d),
                                 cube(d_qkv + 2 * h, n, v.heads, d)};
  attention.query_stride = attention.key_stride = 3 * h;
  attention.in_bf16 = w.qkv.weight.narrow != nullptr;
  attention.narrow_dOutput = d_attended.narrow, attention.narrow_output = s.attended.narrow;
  if (narrow_) attention.narrow_dValue = d_product.narrow + 2 * h;
  run(stream, attention);
  Rotary<T> rotary{matrix<const T>(cosine_, n, d / 2), matrix<const T>(sine_, n, d / 2), cube(d_qkv, n, 2 * v.heads, d), true};
  rotary.row_stride = 3 * h, rotary.narrow_x = d_product.narrow;
  run(stream, rotary);
  linear_backward(stream, n, h, 3 * h, d_product, s.normed1, w.qkv.weight, &w.qkv.bias, d_rows);
  layer_norm_backward<T>(stream, n, h, d_rows, s.x, w.norm1, s.mean1, s.rstd1, dX, dX);
}

template <class T>
void VisionTower<T>::backward(Stream& stream, const VisionInput<T>& input, const std::vector<T*>& d_features, T* dX, Weights<T>& weights,
                              GradientSink<T>* sink, Scratch& scratch) {
  const auto& v = c_.vision;
  const size_t n = input.patches(), h = v.hidden;
  clear(stream, dX, n * h);
  {
    const LentGradients<T> gradients(stream, sink, weights.merger);
    Scratch inner(stream);
    merge_backward(stream, n, weights.merger, false, d_features[0], merger_, w_.lowest_block < v.depth ? dX : nullptr, inner);
    gradients.finish();
  }
  for (size_t b = v.depth; b-- > 0;) {
    for (size_t k = 0; k < v.taps.size(); k++) {
      if (static_cast<size_t>(v.taps[k]) != b) continue;
      const LentGradients<T> gradients(stream, sink, weights.deepstack[k]);
      Scratch inner(stream);
      merge_backward(stream, n, weights.deepstack[k], true, d_features[1 + k], taps_[k], b >= w_.lowest_block ? dX : nullptr, inner);
      gradients.finish();
    }
    if (b >= w_.lowest_block) {
      const LentGradients<T> gradients(stream, sink, weights.blocks[b]);
      block_backward(stream, n, weights.blocks[b], blocks_[b], dX);
      gradients.finish();
    }
    scratch.give_back(blocks_[b].mark);
  }
  if (w_.lowest_block > 0) return;
  const LentGradients<T> gradients(stream, sink, weights.positions, weights.patch);
  if (weights.positions.gradient)
    run(stream, PositionEmbeddingBackward<T>{in_.grids, matrix<const T>(dX, n, h),
                                             matrix(added_to(stream, weights.positions), v.positions, h), static_cast<int32_t>(v.merge)});
  Scratch inner(stream);
  T* rows = inner.take<T>(n * v.patch_size());
  write_rows(stream, input, rows);
  linear_backward<T>(stream, n, v.patch_size(), h, dX, rows, weights.patch.weight, &weights.patch.bias, nullptr);
  gradients.finish();
}

template <class T> void VisionTower<T>::hand_zeros(Stream& stream, Weights<T>& weights, GradientSink<T>* sink) const {
  const auto hand = [&](auto&... parts) { LentGradients<T>(stream, sink, parts...).finish(); };
  hand(weights.merger);
  for (auto& merger : weights.deepstack) hand(merger);
  for (auto& block : weights.blocks) hand(block);
  hand(weights.positions, weights.patch);
}

template class VisionTower<float>;
template class VisionTower<double>;

}  // namespace g2rpo::qwen3vl
