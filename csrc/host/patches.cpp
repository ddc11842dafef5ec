#include <cstring>

#include "resize.h"

namespace g2rpo::host {

void flatten_patches(const uint8_t* pixels, ImageSize size, int64_t patch, int64_t merge, int64_t times,
                     const Normalisation& normalisation, float* rows) {
  constexpr int kChannels = 3;
  float value[kChannels][256];
  for (int c = 0; c < kChannels; ++c)
    for (int x = 0; x < 256; ++x)
      value[c][x] = (static_cast<float>(x) / 255.0f - normalisation.mean[c]) / normalisation.std[c];

  const int64_t side = patch * merge;
  const int64_t area = patch * patch;
  float* out = rows;
  for (int64_t top = 0; top < size.height; top += side)
    for (int64_t left = 0; left < size.width; left += side)
      for (int64_t r = 0; r < merge; ++r)
        for (int64_t c = 0; c < merge; ++c)
          for (int channel = 0; channel < kChannels; ++channel) {
            for (int64_t y = 0; y < patch; ++y) {
              const uint8_t* line =
                  pixels + ((top + r * patch + y) * size.width + left + c * patch) * kChannels + channel;
              for (int64_t x = 0; x < patch; ++x) out[y * patch + x] = value[channel][line[x * kChannels]];
            }
            for (int64_t t = 1; t < times; ++t) std::memcpy(out + t * area, out, area * sizeof(float));
            out += times * area;
          }
}

}  // namespace g2rpo::host
