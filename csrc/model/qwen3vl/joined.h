// Layers of a step of decoding as few launches: where a backend has joined them, of a dense policy with weights in bf16.
#pragma once
#include "../../ops/decode_layer/op.h"
#include "kv_cache.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

/** Whether all layers can be computed so for this many rows. */
template <class T> bool can_join(const Stream& stream, const TextConfig& t, const Weights<T>& w, size_t rows) {
  if (!stream.accelerator || t.moe.experts || !find_kernel(DecodeBegin::kName, stream.accelerator->backend(), variant_of<DecodeBegin>())) return false;
  const DecodeSizes sizes{rows, t.hidden, t.heads, t.kv_heads, t.head_dim, t.mlp, t.epsilon};
  return sizes.joined() && std::all_of(w.layers.begin(), w.layers.end(), [](const TextLayer<T>& l) {  // what is adapted over bf16 is f32
    return l.q.narrow && l.k.narrow && l.v.narrow && l.o.narrow && l.gate.narrow && l.up.narrow && l.down.narrow;
  });
}

/** The layers over x [rows, hidden], and the final norm into `out`; attend(layer, query, attended) between, which leaves rows as products of few take them. */
class JoinedLayers {
 public:
  JoinedLayers(const TextConfig& t, size_t rows, Scratch& scratch)
      : sizes_{rows, t.hidden, t.heads, t.kv_heads, t.head_dim, t.mlp, t.epsilon},
        sums_(scratch.take<float>(sizes_.sums())),
        query_(scratch.take<float>(rows * t.query_size())),
        attended_(scratch.take<bf16>(rows * t.query_size())),
        normed_(scratch.take<bf16>(rows * t.hidden)),
        narrow_(scratch.take<bf16>(rows * t.mlp)) {}

  template <class F>
  void run(Stream& stream, const Weights<float>& weights, KvCache<float>& cache, const int32_t* slots, const float* cosine, const float* sine, float* x,
           float* out, F&& attend) const {
    const size_t layers = weights.layers.size();
    g2rpo::run(stream, DecodeBegin{sizes_, x, weights.layers[0].input_norm.weight, normed_});
    for (size_t l = 0; l < layers; l++) {
      const auto& w = weights.layers[l];
      g2rpo::run(stream, DecodeHeads{sizes_, normed_, w.q.narrow, w.k.narrow, w.v.narrow, w.q_norm.weight, w.k_norm.weight, cosine, sine, slots, sums_,
                                           query_, cache.keys_of_slots(l), cache.values_of_slots(l)});
      attend(l, query_, attended_);
      const bool last = l + 1 == layers;
      const auto& next_norm = last ? weights.final_norm : weights.layers[l + 1].input_norm;
      g2rpo::run(stream, DecodeRest{sizes_, attended_, w.o.narrow, w.gate.narrow, w.up.narrow, w.down.narrow, w.post_norm.weight,
                                          next_norm.weight, x, sums_, normed_, narrow_, last ? out : nullptr});
    }
  }

 private:
  DecodeSizes sizes_;
  float *sums_, *query_;
  bf16 *attended_, *normed_, *narrow_;
};

}  // namespace g2rpo::qwen3vl
