// Image arithmetic that only ever runs on the host.
#pragma once
#include <cstdint>

namespace g2rpo::host {

struct ImageSize {
  int64_t height;
  int64_t width;
};

/**
 * Bicubic resize (a = -0.5, antialiased) of interleaved 8-bit RGB, with the exact result of Pillow 12.3.
 *
 * Weights are computed in double, divided by their sum and rounded to 22 fractional bits, half away from zero. Rows are
 * resized first, then columns; the picture in between is 8-bit again. A direction whose size stays is left alone. The
 * exception: columns go first in a picture that is more than 100 times as high as wide, and becomes lower.
 */
void resize_bicubic(const uint8_t* in, ImageSize from, uint8_t* out, ImageSize to);

/** How pixels become numbers: v = x / 255, then (v - mean) / std, each step rounded to fp32. */
struct Normalisation {
  float mean[3];
  float std[3];
};

/**
 * The rows of a picture whose sides are multiples of merge * patch: one row per patch, merge * merge patches of a visual
 * token in a row, content (channel, time, y, x). A still picture is repeated along time.
 *
 *   row ((R * columns + C) * merge + r) * merge + c is the patch at (R * merge + r, C * merge + c)
 */
void flatten_patches(const uint8_t* pixels, ImageSize size, int64_t patch, int64_t merge, int64_t times,
                     const Normalisation& normalisation, float* rows);

}  // namespace g2rpo::host
