#include "resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace g2rpo::host {
namespace {

constexpr int kFraction = 22;
constexpr int kChannels = 3;

/** For every output position, the first source position and the weights of those that follow it. */
struct Weights {
  int64_t most;  // weights reserved per output position
  std::vector<int64_t> first;
  std::vector<int64_t> count;
  std::vector<int32_t> weight;
};

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << kFraction);
  return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

Weights weights_for(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch;
  Weights w{static_cast<int64_t>(std::ceil(support)) * 2 + 1, {}, {}, {}};
  w.first.resize(out);
  w.count.resize(out);
  w.weight.resize(out * w.most);
  std::vector<double> exact(w.most);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto low = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const auto high = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
    double sum = 0;
    for (int64_t x = low; x < high; ++x)
      sum += exact[x - low] = bicubic((static_cast<double>(x) - centre + 0.5) * (1.0 / stretch));
    for (int64_t k = 0; k < high - low; ++k) w.weight[i * w.most + k] = to_fixed(sum != 0 ? exact[k] / sum : exact[k]);
    w.first[i] = low;
    w.count[i] = high - low;
  }
  return w;
}

uint8_t to_level(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFraction, 0, 255)); }

void resize_rows(const uint8_t* in, ImageSize from, uint8_t* out, int64_t width) {
  const Weights w = weights_for(from.width, width);
  for (int64_t y = 0; y < from.height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* source = in + (y * from.width + w.first[x]) * kChannels;
      const int32_t* weight = w.weight.data() + x * w.most;
      int32_t sum[kChannels] = {1 << (kFraction - 1), 1 << (kFraction - 1), 1 << (kFraction - 1)};
      for (int64_t k = 0; k < w.count[x]; ++k)
        for (int c = 0; c < kChannels; ++c) sum[c] += source[k * kChannels + c] * weight[k];
      for (int c = 0; c < kChannels; ++c) out[(y * width + x) * kChannels + c] = to_level(sum[c]);
    }
}

void resize_columns(const uint8_t* in, ImageSize from, uint8_t* out, int64_t height) {
  const Weights w = weights_for(from.height, height);
  const int64_t stride = from.width * kChannels;
  std::vector<int32_t> sum(stride);
  for (int64_t y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kFraction - 1));
    for (int64_t k = 0; k < w.count[y]; ++k) {
      const uint8_t* source = in + (w.first[y] + k) * stride;
      const int32_t weight = w.weight[y * w.most + k];
      for (int64_t x = 0; x < stride; ++x) sum[x] += source[x] * weight;
    }
    for (int64_t x = 0; x < stride; ++x) out[y * stride + x] = to_level(sum[x]);
  }
}

}  // namespace

void resize_bicubic(const uint8_t* in, ImageSize from, uint8_t* out, ImageSize to) {
  const bool wide = from.width != to.width, tall = from.height != to.height;
  if (!wide && !tall) {
    std::memcpy(out, in, from.height * from.width * kChannels);
  } else if (!tall) {
    resize_rows(in, from, out, to.width);
  } else if (!wide) {
    resize_columns(in, from, out, to.height);
  } else if (from.height > 100 * from.width && to.height < from.height) {
    std::vector<uint8_t> between(to.height * from.width * kChannels);
    resize_columns(in, from, between.data(), to.height);
    resize_rows(between.data(), {to.height, from.width}, out, to.width);
  } else {
    std::vector<uint8_t> between(from.height * to.width * kChannels);
    resize_rows(in, from, between.data(), to.width);
    resize_columns(between.data(), {from.height, to.width}, out, to.height);
  }
}

}  // namespace g2rpo::host
