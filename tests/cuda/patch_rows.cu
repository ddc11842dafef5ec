#include "../../csrc/ops/patch_rows/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** Frames of h · w patches. */
struct Shown {
  size_t frames, h, w;
};
struct Sizes {
  size_t patch, times, merge;
};

/** Random bytes of pictures and videos. `shift`: bytes by which they begin behind an aligned address. */
struct Pixels {
  std::vector<Array<uint8_t>> arrays;
  std::vector<RawView> views[2];
  Array<int32_t> grids;
  size_t patches = 0, bytes = 0;

  Pixels(const std::vector<Shown>& all, const Sizes& sizes, size_t shift = 0) {
    std::vector<int32_t> sides;
    std::mt19937 bits(7);
    for (const auto& [frames, h, w] : all) {
      const size_t t = (frames + sizes.times - 1) / sizes.times, size = 3 * frames * h * w * sizes.patch * sizes.patch;
      std::vector<uint8_t> values(shift + size);
      for (auto& x : values) x = static_cast<uint8_t>(bits());
      arrays.emplace_back(std::move(values));
      for (const Side side : {Side::host, Side::device}) views[side == Side::device].push_back({arrays.back().at(side) + shift, size});
      for (const size_t n : {t, h, w}) sides.push_back(static_cast<int32_t>(n));
      patches += t * h * w, bytes += size;
    }
    grids = Array<int32_t>(std::move(sides));
  }
  ViewList<const uint8_t> list(Side side) const { return {views[side == Side::device].data(), arrays.size()}; }
};

template <class T> void patch_rows(Harness& h) {
  auto values = randoms<float>(3 * 256, 1);
  const auto test = [&](const char* what, const std::vector<Shown>& all, const Sizes& sizes, size_t shift, bool timing) {
    Pixels shown(all, sizes, shift);
    const size_t width = 3 * sizes.times * sizes.patch * sizes.patch;
    auto rows = zeros<T>(shown.patches * width);
    const std::function<PatchRows<T>(Side)> make = [&](Side s) {
      return PatchRows<T>{shown.list(s), shown.grids.view(s, all.size(), 3), values.view(s, 3, 256), rows.view(s, shown.patches, width),
                          static_cast<int32_t>(sizes.patch), static_cast<int32_t>(sizes.merge)};
    };
    const std::string name = typed<T>("patch_rows") + what;
    if (timing) return h.time<PatchRows<T>>(name, static_cast<double>(shown.bytes + shown.patches * width * sizeof(T)), make);
    h.on_both<PatchRows<T>>(make);
    h.same(name, rows);
  };
  test(" of nothing", {}, {4, 2, 2}, 0, false);
  test(" of one pixel", {{1, 1, 1}}, {1, 1, 1}, 0, false);
  test(" of pictures", {{1, 2, 4}, {1, 6, 2}, {1, 4, 4}, {1, 2, 2}, {1, 8, 10}}, {16, 2, 2}, 0, false);
  test(" at odd addresses", {{1, 2, 4}, {1, 6, 2}}, {16, 2, 2}, 1, false);
  test(" of videos", {{4, 2, 4}, {5, 4, 2}, {1, 2, 2}}, {8, 2, 2}, 0, false);
  test(" of three frames at a time", {{4, 3, 6}, {1, 6, 3}}, {4, 3, 3}, 0, false);
  test(" of an odd patch", {{1, 4, 2}, {3, 2, 2}}, {5, 2, 2}, 0, false);
  test(" of 300 pictures", std::vector<Shown>(300, {1, 2, 2}), {4, 2, 2}, 0, false);
  const auto refuse = [&](const char* what, const std::vector<Shown>& all, std::vector<int32_t> sides, size_t patches, size_t width, int32_t patch,
                          int32_t merge, const char* code) {
    Pixels shown(all, {4, 2, 2});
    Array<int32_t> grids(std::move(sides));
    auto rows = zeros<T>(patches * width);
    h.both_refuse<PatchRows<T>>(typed<T>("patch_rows") + what, code, [&](Side s) {
      return PatchRows<T>{shown.list(s), grids.view(s, grids.host().size() / 3, 3), values.view(s, 3, 256), rows.view(s, patches, width), patch, merge};
    });
  };
  const std::vector<Shown> two{{1, 2, 4}, {1, 2, 2}};
  refuse(" of odd sides", two, {1, 2, 4, 1, 3, 2}, 12, 96, 4, 2, "INVALID_ARGUMENT");
  refuse(" of too many patches", two, {1, 2, 4, 1, 2, 4}, 12, 96, 4, 2, "INVALID_ARGUMENT");
  refuse(" of too few patches", two, {1, 2, 2, 1, 2, 2}, 12, 96, 4, 2, "INVALID_ARGUMENT");
  refuse(" of patch 0", two, {1, 2, 4, 1, 2, 2}, 12, 96, 0, 2, "INVALID_ARGUMENT");
  refuse(" of merge 0", two, {1, 2, 4, 1, 2, 2}, 12, 96, 4, 0, "INVALID_ARGUMENT");
  refuse(" of rows of another width", two, {1, 2, 4, 1, 2, 2}, 12, 95, 4, 2, "SHAPE_MISMATCH");
  refuse(" of a picture too few", two, {1, 2, 4}, 8, 96, 4, 2, "SHAPE_MISMATCH");
  refuse(" of frames too few", two, {1, 2, 4, 2, 2, 2}, 16, 96, 4, 2, "SHAPE_MISMATCH");
  refuse(" of frames too many", {{1, 2, 4}, {3, 2, 2}}, {1, 2, 4, 1, 2, 2}, 12, 96, 4, 2, "SHAPE_MISMATCH");
  if (sizeof(T) == 4 && h.timed()) {
    test(" of 8 pictures of 512 x 512", std::vector<Shown>(8, {1, 32, 32}), {16, 2, 2}, 0, true);
    test(" of 128 pictures of 64 x 64", std::vector<Shown>(128, {1, 4, 4}), {16, 2, 2}, 0, true);
    test(" of a video of 64 frames of 512 x 512", {{64, 32, 32}}, {16, 2, 2}, 0, true);
  }
}

const Registered registered("patch_rows", [](Harness& h) { patch_rows<float>(h), patch_rows<double>(h); });

}  // namespace
