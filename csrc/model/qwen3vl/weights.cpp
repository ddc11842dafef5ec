#include "weights.h"

#include "../../core/status.h"

namespace g2rpo::qwen3vl {

namespace {

/** Takes parameters out of the map by name, checking their sizes. */
template <class T> struct Reader {
  const ParameterMap<T>& parameters;

  /** A matrix that rows are multiplied by or looked up in. */
  Parameter<T> matrix(const std::string& name, size_t size) const {
    const auto found = parameters.find(name);
    if (found == parameters.end()) throw Error("INVALID_CHECKPOINT", "the policy lacks the parameter " + name);
    if (found->second.size != size)
      throw Error("INVALID_CHECKPOINT", name + " must hold " + std::to_string(size) + " elements; got " +
                                            std::to_string(found->second.size));
    return found->second;
  }
  Parameter<T> one(const std::string& name, size_t size) const {
    const Parameter<T> found = matrix(name, size);
    if (found.narrow) throw Error("DTYPE_MISMATCH", name + " must be " + name_of(DTypeOf<T>::value) + "; of bf16 may be matrices that rows are multiplied by or looked up in");
    return found;
  }
  Affine<T> norm(const std::string& name, size_t size) const { return {one(name + ".weight", size), one(name + ".bias", size)}; }
  Affine<T> affine(const std::string& name, size_t out, size_t in) const {
    return {matrix(name + ".weight", out * in), one(name + ".bias", out)};
  }
  Merger<T> merger(const std::string& name, const Config& c, size_t norm) const {
    const size_t wide = c.vision.hidden * c.vision.group();
    return {this->norm(name + ".norm", norm), affine(name + ".linear_fc1", wide, wide),
            affine(name + ".linear_fc2", c.text.hidden, wide)};
  }
};

template <class Part> bool trained(Part& part) {
  bool any = false;
  each_parameter(part, [&](const auto& p) { any |= p.trained(); });
  return any;
}

}  // namespace

template <class T> void Weights<T>::add_places(std::vector<size_t>& key) const {
  const auto add = [&](const auto&... each) {
    (key.insert(key.end(), {each.size, reinterpret_cast<size_t>(each.weight), reinterpret_cast<size_t>(each.narrow)}), ...);
  };
  for (const auto& l : layers)
    add(l.input_norm, l.q, l.k, l.v, l.o, l.q_norm, l.k_norm, l.post_norm, l.gate, l.up, l.down, l.moe.router, l.moe.gate_up, l.moe.down);
  add(final_norm);
}

template <class T> void Weights<T>::find_lowest() {
  lowest_block = trained(patch) || positions.trained() ? 0 : blocks.size();
  for (size_t b = 0; b < lowest_block; b++)
    if (trained(blocks[b])) lowest_block = b;
  vision_trained = lowest_block < blocks.size() || trained(merger);
  for (auto& tap : deepstack) vision_trained |= trained(tap);
  lowest_layer = vision_trained || embedding.trained() ? 0 : layers.size();
  for (size_t l = 0; l < lowest_layer; l++)
    if (trained(layers[l])) lowest_layer = l;
}

template <class T> void Weights<T>::find_narrow() {
  narrow = true;
  const auto add = [&](const auto&... matrices) { ((narrow &= matrices.narrow && !matrices.adapter.rank), ...); };
  for (const auto& l : layers) {
    add(l.q, l.k, l.v, l.o);
    if (!l.moe.router.size) add(l.gate, l.up, l.down);
  }
  for (const auto& b : blocks) add(b.qkv.weight, b.proj.weight, b.fc1.weight, b.fc2.weight);
  add(patch.weight, merger.fc1.weight, merger.fc2.weight);
  for (const auto& tap : deepstack) add(tap.fc1.weight, tap.fc2.weight);
}

template <class T> Weights<T>::Weights(const Config& config, const ParameterMap<T>& parameters) {
  const Reader<T> read{parameters};
  const auto& t = config.text;
  const auto& v = config.vision;
  const std::string text = "model.language_model.", visual = "model.visual.";
  embedding = read.matrix(text + "embed_tokens.weight", t.vocab * t.hidden);
  tied = config.tied;
  head = tied ? embedding : read.matrix("lm_head.weight", t.vocab * t.hidden);
  final_norm = read.one(text + "norm.weight", t.hidden);
  for (size_t l = 0; l < t.layers; l++) {
    const std::string at = text + "layers." + std::to_string(l) + ".";
    layers.push_back({read.one(at + "input_layernorm.weight", t.hidden),
                      read.matrix(at + "self_attn.q_proj.weight", t.query_size() * t.hidden),
                      read.matrix(at + "self_attn.k_proj.weight", t.key_size() * t.hidden),
                      read.matrix(at + "self_attn.v_proj.weight", t.key_size() * t.hidden),
                      read.matrix(at + "self_attn.o_proj.weight", t.hidden * t.query_size()),
                      read.one(at + "self_attn.q_norm.weight", t.head_dim),
                      read.one(at + "self_attn.k_norm.weight", t.head_dim),
                      read.one(at + "post_attention_layernorm.weight", t.hidden), {}, {}, {}, {}});
    auto& layer = layers.back();
    if (const auto& m = t.moe; m.experts) {
      layer.moe = {read.one(at + "mlp.gate.weight", m.experts * t.hidden),
                   read.matrix(at + "mlp.experts.gate_up_proj", m.experts * t.hidden * 2 * m.mlp),
                   read.matrix(at + "mlp.experts.down_proj", m.experts * m.mlp * t.hidden)};
    } else {
      layer.gate = read.matrix(at + "mlp.gate_proj.weight", t.mlp * t.hidden);
      layer.up = read.matrix(at + "mlp.up_proj.weight", t.mlp * t.hidden);
      layer.down = read.matrix(at + "mlp.down_proj.weight", t.hidden * t.mlp);
    }
  }
  patch = read.affine(visual + "patch_embed.proj", v.hidden, v.patch_size());
  positions = read.one(visual + "pos_embed.weight", v.positions * v.hidden);
  for (size_t b = 0; b < v.depth; b++) {
    const std::string at = visual + "blocks." + std::to_string(b) + ".";
    blocks.push_back({read.norm(at + "norm1", v.hidden), read.norm(at + "norm2", v.hidden),
                      read.affine(at + "attn.qkv", 3 * v.hidden, v.hidden), read.affine(at + "attn.proj", v.hidden, v.hidden),
                      read.affine(at + "mlp.linear_fc1", v.mlp, v.hidden), read.affine(at + "mlp.linear_fc2", v.hidden, v.mlp)});
  }
  merger = read.merger(visual + "merger", config, v.hidden);
  for (size_t k = 0; k < v.taps.size(); k++)
    deepstack.push_back(read.merger(visual + "deepstack_merger_list." + std::to_string(k), config, v.hidden * v.group()));
  find_lowest();
  find_narrow();
}

template struct Weights<float>;
template struct Weights<double>;

}  // namespace g2rpo::qwen3vl
