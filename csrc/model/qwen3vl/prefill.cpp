// Prompts of the engine: parts of several in one pass, whose keys and values go into the cache.
#include <algorithm>

#include "../../ops/visual_splice/op.h"
#include "engine.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

template <class T> void Engine<T>::prefill(Stream& stream, const std::vector<Chunk>& chunks) {
  Scratch scratch(stream);
  const size_t h = c_.text.hidden;
  std::vector<typename CachedRows<T>::Part> parts;
  TextInput input;
  input.segment_starts = {0};
  const auto segment = [&](size_t rows, int32_t prefix) {
    input.segment_starts.push_back(input.segment_starts.back() + static_cast<int32_t>(rows));
    input.segment_prefix.push_back(prefix);
  };
  for (const auto& chunk : chunks)
    if (chunk.begin) segment(chunk.begin, -1);
  size_t rows = 0;
  int32_t past = 0;  // segments of rows that were computed before
  for (const auto& chunk : chunks) {
    segment(chunk.rows(), chunk.begin ? past++ : -1);
    parts.push_back({&chunk.group->pages, chunk.begin, chunk.rows()});
    rows += chunk.rows();
  }
  input.positions.resize(3 * rows);
  std::vector<int32_t> last;  // rows at which a prompt ends
  size_t at = 0;
  for (const auto& [group, begin, end] : chunks) {
    const auto& p = group->request.prompt;
    input.ids.insert(input.ids.end(), p.ids.data() + begin, p.ids.data() + end);
    for (size_t axis = 0; axis < 3; axis++)
      std::copy(p.positions.data() + axis * p.rows() + begin, p.positions.data() + axis * p.rows() + end, input.positions.data() + axis * rows + at);
    at += end - begin;
    if (end == p.rows()) last.push_back(static_cast<int32_t>(at) - 1);
  }
  const auto features = features_of(stream, chunks, input, scratch);
  const CachedRows<T> cached(stream, cache_, parts, scratch);
  const T* hidden = text_.forward(stream, input, features, Keep::nothing, scratch, &cached);
  T* gathered = scratch.take<T>(last.size() * h);
  T* normed = scratch.take<T>(last.size() * h);
  T* rstd = scratch.take<T>(last.size());
  run(stream, GatherRows<T>{matrix(hidden, rows, h), on_device(stream, last, scratch), matrix(gathered, last.size(), h)});
  rms_norm(stream, last.size(), h, gathered, w_.final_norm, c_.text.epsilon, normed, rstd);
  for (const auto& chunk : chunks) {
    auto& g = *chunk.group;
    g.cached = chunk.end;
    if (chunk.end < g.request.prompt.rows()) continue;
    g.last = Array<T>(h, stream.accelerator);
    copy(stream, g.last.data(), normed, h);
    normed += h;
    g.features.clear();
    if (!cache_.bounded()) g.request.prompt.pictures.clear();  // the tower will not be asked again
  }
}

/**
 * Features of the pictures that the chunks show, each computed once, with the visual rows of `input`. A prompt that is computed in
 * parts shows all its pictures to the tower at its first part, and keeps their features to its last.
 */
template <class T>
VisualFeatures<T> Engine<T>::features_of(Stream& stream, const std::vector<Chunk>& chunks, TextInput& input, Scratch& scratch) {
  const auto& v = c_.vision;
  const size_t h = c_.text.hidden, levels = 1 + v.taps.size();
  // pictures of prompts that begin: where their features start
  std::vector<std::pair<const Picture<T>*, size_t>> shown;
  VisionInput<T> tower;
  const auto start_of = [&](const Picture<T>* picture) {
    return std::find_if(shown.begin(), shown.end(), [&](const auto& each) { return each.first == picture; });
  };
  for (const auto& chunk : chunks) {
    if (chunk.begin) continue;
    for (const auto& picture : chunk.group->request.prompt.pictures) {
      if (start_of(picture.get()) != shown.end()) continue;
      shown.emplace_back(picture.get(), tower.tokens(v));
      tower.shown.push_back(picture->shown);
      tower.grids.insert(tower.grids.end(), picture->grid, picture->grid + 3);
    }
  }
  VisualFeatures<T> features{tower.tokens(v), {}};
  if (!tower.shown.empty()) {
    vision_.forward(stream, tower, Keep::nothing, scratch);
    features.levels = vision_.levels;
  }

  const auto tokens_of = [&](const Picture<T>& picture) { return picture.patches() / v.group(); };
  for (const auto& [group, begin, end] : chunks) {
    const auto& p = group->request.prompt;
    if (begin || end == p.rows() || p.pictures.empty()) continue;
    size_t count = 0;
    for (const auto& picture : p.pictures) count += tokens_of(*picture);
    for (size_t l = 0; l < levels; l++) {
      group->features.emplace_back(count * h, stream.accelerator);
      T* to = group->features.back().data();
      for (const auto& picture : p.pictures) {
        copy(stream, to, features.levels[l] + start_of(picture.get())->second * h, tokens_of(*picture) * h);
        to += tokens_of(*picture) * h;
      }
    }
  }

  // features that were kept stand behind those that were computed
  std::vector<size_t> kept(chunks.size());
  size_t total = features.count;
  for (size_t i = 0; i < chunks.size(); i++) {
    kept[i] = total;
    if (chunks[i].begin && !chunks[i].group->features.empty()) total += chunks[i].group->features[0].size() / h;
  }
  if (total > features.count) {
    std::vector<T*> all;
    for (size_t l = 0; l < levels; l++) {
      all.push_back(scratch.take<T>(total * h));
      if (features.count) copy(stream, all[l], features.levels[l], features.count * h);
      T* to = all[l] + features.count * h;
      for (const auto& chunk : chunks)
        if (chunk.begin && !chunk.group->features.empty()) {
          const auto& level = chunk.group->features[l];
          copy(stream, to, level.data(), level.size());
          to += level.size();
        }
    }
    features = {total, std::move(all)};
  }

  size_t row = 0;
  for (size_t i = 0; i < chunks.size(); i++) {
    const auto& [group, begin, end] = chunks[i];
    const auto& p = group->request.prompt;
    std::vector<int32_t> source;  // of every feature of the prompt
    size_t own = kept[i];
    for (const auto& picture : p.pictures) {
      size_t start = begin ? own : start_of(picture.get())->second;
      for (size_t f = 0; f < tokens_of(*picture); f++, own++) source.push_back(static_cast<int32_t>(start + f));
    }
    for (size_t k = 0; k < p.visual_rows.size(); k++) {
      const auto r = static_cast<size_t>(p.visual_rows[k]);
      if (r < begin || r >= end) continue;
      input.visual_rows.push_back(static_cast<int32_t>(row + r - begin));
      input.visual_source.push_back(source[static_cast<size_t>(p.visual_source[k])]);
    }
    row += end - begin;
  }
  return features;
}

#define G2_INSTANTIATE(T)                                                                                                     \
  template void Engine<T>::prefill(Stream&, const std::vector<Chunk>&);                                                       \
  template VisualFeatures<T> Engine<T>::features_of(Stream&, const std::vector<Chunk>&, TextInput&, Scratch&);
G2_INSTANTIATE(float)
G2_INSTANTIATE(double)

}  // namespace g2rpo::qwen3vl
