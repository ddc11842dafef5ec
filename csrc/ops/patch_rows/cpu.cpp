#include "../../core/arena.h"
#include "op.h"
#include "sizes.h"

namespace g2rpo {

namespace {

/** A picture or video, and where its rows begin. */
struct Source {
  const uint8_t* pixels;
  size_t frames, first;
  size_t h, w;
};

/** All of them, or null with a failure. */
template <class T> Source* sources_of(Stream& stream, const PatchRows<T>& op, PatchSize patch, Scratch& scratch) {
  if (!grids_are_valid(stream, op.kName, op.grids, op.merge, op.rows.dim[0])) return nullptr;
  Source* sources = scratch.take<Source>(op.pixels.size);
  size_t first = 0;
  for (size_t k = 0; k < op.pixels.size; k++) {
    const int32_t* grid = op.grids.data + 3 * k;
    const size_t t = static_cast<size_t>(grid[0]), h = static_cast<size_t>(grid[1]), w = static_cast<size_t>(grid[2]);
    const auto pixels = op.pixels[k];
    const size_t frame = kChannels * patch.side * patch.side * h * w, frames = pixels.size / frame;
    if (pixels.size % frame || (frames + patch.times - 1) / patch.times != t) {
      fail(stream, "SHAPE_MISMATCH", frames_message(op.kName, k, pixels.size, grid[0], grid[1], grid[2]).c_str());
      return nullptr;
    }
    sources[k] = {pixels.data, frames, first, h, w};
    first += t * h * w;
  }
  return sources;
}

/** Patch i of a source: its merge · merge neighbours of a visual token stand behind each other. */
template <class T> void write_row(const Source& from, size_t i, size_t merge, PatchSize patch, const T (*values)[256], T* row) {
  const size_t part = i / (from.h * from.w), group = merge * merge, block = i % (from.h * from.w) / group, inside = i % group, wide = from.w / merge;
  const size_t top = (block / wide * merge + inside / merge) * patch.side, left = (block % wide * merge + inside % merge) * patch.side;
  const size_t stride = from.w * patch.side * kChannels, area = patch.side * patch.side, plane = patch.times * area;
  for (size_t time = 0; time < patch.times; time++, row += area) {
    const size_t frame = part * patch.times + time;
    if (frame >= from.frames) {  // the last one again
      for (size_t c = 0; c < kChannels; c++) __builtin_memcpy(row + c * plane, row + c * plane - area, area * sizeof(T));
      continue;
    }
    const uint8_t* line = from.pixels + (frame * from.h * patch.side + top) * stride + left * kChannels;
    for (size_t y = 0; y < patch.side; y++, line += stride)
      for (size_t x = 0; x < patch.side; x++)
        for (size_t c = 0; c < kChannels; c++) row[c * plane + y * patch.side + x] = values[c][line[x * kChannels + c]];
  }
}

}  // namespace

KERNEL_REAL(cpu, PatchRows) {
  const PatchSize patch = patch_size_of(stream, op);
  if (!patch.times) return;
  Scratch scratch;
  const Source* const sources = sources_of(stream, op, patch, scratch);
  if (!sources) return;
  T values[kChannels][256];
  for (size_t c = 0; c < kChannels; c++)
    for (size_t x = 0; x < 256; x++) values[c][x] = op.values[c * 256 + x];
  const size_t patches = op.rows.dim[0], width = op.rows.dim[1], merge = static_cast<size_t>(op.merge);
  constexpr size_t kItem = 16;  // rows of a work item
  parallel_for(stream, (patches + kItem - 1) / kItem, [&](size_t item) {
    const size_t begin = item * kItem, end = begin + kItem < patches ? begin + kItem : patches;
    size_t k = 0, high = op.pixels.size;  // the source of the first
    while (high - k > 1) {
      const size_t middle = (k + high) / 2;
      (sources[middle].first <= begin ? k : high) = middle;
    }
    Scratch own;
    T* near = own.take<T>(width);  // written plane by plane; memory takes it as one
    for (size_t p = begin; p < end; p++) {
      if (k + 1 < op.pixels.size && sources[k + 1].first == p) k++;
      write_row<T>(sources[k], p - sources[k].first, merge, patch, values, near);
      __builtin_memcpy(op.rows.data + p * width, near, width * sizeof(T));
    }
  });
}

}  // namespace g2rpo
