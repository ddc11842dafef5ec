// Sizes of a Qwen3-VL, dense or with a mixture of experts. They come from lib/model/qwen3vl/config.ts, checked there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace g2rpo::qwen3vl {

/** Experts in the place of every text layer's MLP; none in a dense model. */
struct MoeConfig {
  size_t experts = 0, active = 0, mlp = 0;  // active: experts of a row
  bool normalise = true;                    // their weights sum to 1
};

struct TextConfig {
  size_t hidden, layers, heads, kv_heads, head_dim, mlp, vocab;
  double rope_theta, epsilon;
  int32_t section[3];  // frequencies of the axes T, H, W
  MoeConfig moe = {};
  size_t query_size() const { return heads * head_dim; }
  size_t key_size() const { return kv_heads * head_dim; }
};

struct VisionConfig {
  size_t depth, hidden, heads, mlp, patch, temporal_patch, merge, positions;
  std::vector<int32_t> taps;  // blocks whose output feeds a deepstack merger
  double epsilon = 1e-6;      // fixed in the architecture
  size_t head_dim() const { return hidden / heads; }
  /** numbers of a patch */
  size_t patch_size() const { return 3 * temporal_patch * patch * patch; }
  /** patches of one visual token */
  size_t group() const { return merge * merge; }
};

struct Config {
  TextConfig text;
  VisionConfig vision;
  bool tied;
};

}  // namespace g2rpo::qwen3vl
