#include "request.h"

#include "../../core/status.h"

namespace g2rpo::qwen3vl {

template <class T>
std::vector<Prompt<T>> prompts_of(const Batch<T>& batch, std::shared_ptr<const void> owner, const std::vector<int32_t>& rope_delta,
                                  const VisionConfig& vision) {
  const auto& text = batch.text;
  const size_t count = rope_delta.size(), rows = text.rows();
  if (text.segment_starts.size() != count + 1) throw Error("INVALID_ARGUMENT", "generate: there must be one segment and one ropeDelta per prompt");

  std::vector<std::shared_ptr<const Picture<T>>> pictures;
  std::vector<size_t> picture_of, feature_of;  // of every feature: its picture, and its row there
  for (size_t g = 0; g < batch.vision.grids.size(); g += 3) {
    auto picture = std::make_shared<Picture<T>>(Picture<T>{batch.vision.shown[g / 3], owner, {}});
    for (size_t i = 0; i < 3; i++) picture->grid[i] = batch.vision.grids[g + i];
    for (size_t f = 0; f < picture->patches() / vision.group(); f++) {
      picture_of.push_back(pictures.size());
      feature_of.push_back(f);
    }
    pictures.push_back(std::move(picture));
  }
  std::vector<int32_t> source(rows, -1);
  for (size_t k = 0; k < text.visual_rows.size(); k++) source[static_cast<size_t>(text.visual_rows[k])] = text.visual_source[k];

  std::vector<Prompt<T>> prompts(count);
  for (size_t p = 0; p < count; p++) {
    auto& prompt = prompts[p];
    const size_t begin = static_cast<size_t>(text.segment_starts[p]), end = static_cast<size_t>(text.segment_starts[p + 1]);
    if (begin == end) throw Error("INVALID_ARGUMENT", "generate: a prompt without tokens");
    prompt.ids.assign(text.ids.begin() + text.segment_starts[p], text.ids.begin() + text.segment_starts[p + 1]);
    for (size_t axis = 0; axis < 3; axis++)
      for (size_t r = begin; r < end; r++) prompt.positions.push_back(text.positions[axis * rows + r]);
    prompt.rope_delta = rope_delta[p];
    std::vector<int32_t> first(pictures.size(), -1);  // features of the prompt before those of a picture
    int32_t features = 0;
    for (size_t r = begin; r < end; r++) {
      if (source[r] < 0) continue;
      const size_t f = static_cast<size_t>(source[r]), picture = picture_of[f];
      if (first[picture] < 0) {
        first[picture] = features;
        features += static_cast<int32_t>(pictures[picture]->patches() / vision.group());
        prompt.pictures.push_back(pictures[picture]);
      }
      prompt.visual_rows.push_back(static_cast<int32_t>(r - begin));
      prompt.visual_source.push_back(first[picture] + static_cast<int32_t>(feature_of[f]));
    }
  }
  return prompts;
}

template std::vector<Prompt<float>> prompts_of(const Batch<float>&, std::shared_ptr<const void>, const std::vector<int32_t>&, const VisionConfig&);
template std::vector<Prompt<double>> prompts_of(const Batch<double>&, std::shared_ptr<const void>, const std::vector<int32_t>&, const VisionConfig&);

}  // namespace g2rpo::qwen3vl
