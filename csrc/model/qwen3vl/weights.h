// The parameters by role. Weights and gradients belong to tensors of the JavaScript side, which the policy keeps alive.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "../../core/tensor.h"
#include "config.h"

namespace g2rpo::qwen3vl {

/** Place among the tensors that an optimizer changes, in the order of names; of one that is frozen kFrozen. */
constexpr size_t kFrozen = SIZE_MAX;

/** What is trained of a matrix by LoRA: weight = frozen base + scale·b·a, with a [rank, in] and b [out, rank]. */
template <class T> struct Adapter {
  T *a = nullptr, *b = nullptr, *dA = nullptr, *dB = nullptr;
  size_t rank = 0, columns = 0, rows = 0;
  /** of a; b is the next one */
  size_t number = kFrozen;
  double scale = 0;
};

/**
 * What a forward pass keeps for the backward pass: of every layer nothing (there will be none), its input, that and the results
 * of matrix products and attention, or everything. What is missing is computed again, to the same bits.
 */
enum class Keep { nothing, inputs, products, everything };

/**
 * A parameter tensor. `gradient` is null where it is frozen, and where gradients are not kept until one is lent (gradients.h). With an adapter the
 * weight is the merged one.
 */
template <class T> struct Parameter {
  T* weight = nullptr;
  /** the weight instead, where it is kept in bf16: a matrix of a policy in f32 */
  bf16* narrow = nullptr;
  T* gradient = nullptr;
  /** What the gradient's memory holds means nothing yet: whoever is first to add to it writes it, or clears it before (`added_to`, gradients.h). */
  mutable bool fresh = false;
  size_t size = 0;
  size_t number = kFrozen;
  /** the weight once more, as matrix products want it, where that was worth its memory */
  const T* packed = nullptr;
  Adapter<T> adapter{};
  bool trained() const { return number != kFrozen || adapter.rank; }
};
template <class T> using ParameterMap = std::unordered_map<std::string, Parameter<T>>;

template <class T> struct Affine {
  Parameter<T> weight, bias;
};

/** Experts as matrices [experts, in, out]; gate_up has the gate's columns first. */
template <class T> struct MoeLayer {
  Parameter<T> router, gate_up, down;
};

template <class T> struct TextLayer {
  Parameter<T> input_norm, q, k, v, o, q_norm, k_norm, post_norm, gate, up, down;  // the last three only where there are no experts
  MoeLayer<T> moe;
};

template <class T> struct VisionBlock {
  Affine<T> norm1, norm2, qkv, proj, fc1, fc2;
};

template <class T> struct Merger {
  Affine<T> norm, fc1, fc2;
};

/** f(parameter) for each parameter of a part. */
template <class T, class F> void each_parameter(Parameter<T>& p, F&& f) { f(p); }
template <class T, class F> void each_parameter(Affine<T>& a, F&& f) { f(a.weight), f(a.bias); }
template <class T, class F> void each_parameter(Merger<T>& m, F&& f) {
  for (auto* part : {&m.norm, &m.fc1, &m.fc2}) each_parameter(*part, f);
}
template <class T, class F> void each_parameter(VisionBlock<T>& b, F&& f) {
  for (auto* part : {&b.norm1, &b.norm2, &b.qkv, &b.proj, &b.fc1, &b.fc2}) each_parameter(*part, f);
}
template <class T, class F> void each_parameter(TextLayer<T>& l, F&& f) {
  for (auto* p : {&l.input_norm, &l.q, &l.k, &l.v, &l.o, &l.q_norm, &l.k_norm, &l.post_norm, &l.gate, &l.up, &l.down, &l.moe.router, &l.moe.gate_up,
                  &l.moe.down})
    f(*p);
}

template <class T> struct Weights {
  Parameter<T> embedding, final_norm, head;  // head is the embedding where they are tied
  std::vector<TextLayer<T>> layers;
  Affine<T> patch;
  Parameter<T> positions;
  std::vector<VisionBlock<T>> blocks;
  Merger<T> merger;
  std::vector<Merger<T>> deepstack;

  /** Where backward passes end: nothing is trained below these, and nothing at all if they are past the last layer or block. */
  size_t lowest_layer, lowest_block;
  bool vision_trained;
  bool tied;
  /** All matrices that layers, blocks and mergers multiply rows with are bf16 and themselves, no experts counted: on an accelerator their operands are rounded to bf16. */
  bool narrow;

  /** @throws INVALID_CHECKPOINT  a name is missing or a size differs; DTYPE_MISMATCH  what is no matrix is in bf16 */
  Weights(const Config& config, const ParameterMap<T>& parameters);
  /** Adds what says where the language model's weights lie. */
  void add_places(std::vector<size_t>& key) const;
  /** f(parameter) for every parameter once: a tied head is the embedding. */
  template <class F> void each(F&& f) {
    f(embedding), f(final_norm), f(positions), each_parameter(patch, f), each_parameter(merger, f);
    if (!tied) f(head);
    for (auto& layer : layers) each_parameter(layer, f);
    for (auto& block : blocks) each_parameter(block, f);
    for (auto& tap : deepstack) each_parameter(tap, f);
  }
  /** Something below the head and the final norm is trained. */
  bool below_head_trained() const { return lowest_layer < layers.size(); }

 private:
  void find_lowest();
  void find_narrow();
};

}  // namespace g2rpo::qwen3vl
