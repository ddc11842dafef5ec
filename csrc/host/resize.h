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

}  // namespace g2rpo::host
