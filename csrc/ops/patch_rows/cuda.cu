#include "../../backends/cuda/grids.h"
#include "../../backends/cuda/vectors.h"
#include "op.h"
#include "sizes.h"

namespace g2rpo {

namespace {

/** Pictures and videos in the device's memory. */
struct Sources {
  const RawView* pixels;
  size_t* frames;
  cuda::Grids grids;
};

/** How many frames each has; 0 where they are not what fills its t. */
__global__ void count_frames(Sources s, size_t patches, PatchSize patch, cuda::Refusal refusal) {
  const size_t k = cuda::global_index();
  if (k >= s.grids.count || !s.grids.fit(patches)) return;
  const int32_t *grid = s.grids.grids + 3 * k, t = grid[0], h = grid[1], w = grid[2];
  const size_t frame = kChannels * patch.side * patch.side * static_cast<size_t>(h) * static_cast<size_t>(w);
  const size_t bytes = s.pixels[k].size, frames = bytes / frame;
  s.frames[k] = frames;
  if (bytes % frame == 0 && (frames + patch.times - 1) / patch.times == static_cast<size_t>(t)) return;
  s.frames[k] = 0;
  refusal.at(k, t, h, w);
}

constexpr size_t kRows = 8;  // of a block, which looks all their bytes up in one copy of the table

/** W neighbours of one row of pixels: all their bytes at once. */
template <int W> struct alignas(W % 4 == 0 ? 4 : 1) Bytes {
  uint8_t x[kChannels * W];
};

/** A block writes kRows rows; a thread takes W neighbours of a line of pixels at a time, of all channels and times. */
template <class T, int W>
__global__ void __launch_bounds__(cuda::kThreads) write_rows(Sources s, const float* values, size_t patches, PatchSize patch, T* rows) {
  __shared__ float table[kChannels * 256];
  if (!s.grids.fit(patches)) return;
  for (unsigned i = threadIdx.x; i < kChannels * 256; i += blockDim.x) table[i] = values[i];
  __syncthreads();
  const unsigned side = static_cast<unsigned>(patch.side), across = side / W, packs = across * side, area = side * side;
  const size_t begin = blockIdx.x * kRows, left = patches - begin;
  const unsigned count = static_cast<unsigned>(left < kRows ? left : kRows) * packs;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    const size_t p = begin + i / packs;
    const unsigned inside = i % packs, y = inside / across, x = inside % across * W;
    const auto at = s.grids.place(p);
    const size_t frames = s.frames[at.grid], stride = static_cast<size_t>(at.w) * side;
    if (frames == 0) continue;
    T* to = rows + p * kChannels * patch.times * area + y * side + x;
    const uint8_t* from = static_cast<const uint8_t*>(s.pixels[at.grid].data) +
                          kChannels * ((static_cast<size_t>(at.row) * side + y) * stride + static_cast<size_t>(at.column) * side + x);
    Bytes<W> bytes{};
    for (size_t time = 0; time < patch.times; time++, to += area) {
      const size_t frame = at.frame * patch.times + time;
      // else the last one again
      if (frame < frames) bytes = *reinterpret_cast<const Bytes<W>*>(from + kChannels * frame * static_cast<size_t>(at.h) * side * stride);
      for (unsigned c = 0; c < kChannels; c++) {
        cuda::Pack<T, W> v;
        for (int w = 0; w < W; w++) v.x[w] = table[256 * c + bytes.x[kChannels * w + c]];
        cuda::store<W>(to + c * patch.times * area, v);
      }
    }
  }
}

}  // namespace

KERNEL_REAL(cuda, PatchRows) {
  const PatchSize patch = patch_size_of(stream, op);
  if (!patch.times) return;
  const size_t patches = op.rows.dim[0], count = op.pixels.size;
  cuda::Temporary<size_t> first(stream, count + 1), frames(stream, count);
  const cuda::Grids grids = cuda::place_all(stream, op, patches, first.get());
  if (patches == 0 || count == 0) return;
  cuda::Temporary<RawView> pixels(stream, count);
  pixels.fill_from(op.pixels.items, count);
  std::vector<size_t> sizes;
  bool words = true;
  for (size_t k = 0; k < count; k++) {
    sizes.push_back(op.pixels.items[k].size);
    words &= reinterpret_cast<uintptr_t>(op.pixels.items[k].data) % 4 == 0;
  }
  const Sources sources{pixels.get(), frames.get(), grids};
  cuda::launch(stream, count_frames, cuda::blocks_for(count), cuda::kThreads, sources, patches, patch,
               cuda::refusal(stream, "SHAPE_MISMATCH", [sizes](size_t k, const auto& v) -> std::string {
                 return frames_message(PatchRows<T>::kName, k, sizes[k], v[0], v[1], v[2]);
               }));
  constexpr int W = sizeof(T) == 4 ? 4 : 1;  // f64 is for judging by
  const bool wide = words && cuda::aligned(op.rows.data) && patch.side % W == 0;
  cuda::launch(stream, wide ? write_rows<T, W> : write_rows<T, 1>, cuda::blocks_for(patches, kRows), cuda::kThreads, sources, op.values.data, patches, patch,
               op.rows.data);
}

}  // namespace g2rpo
