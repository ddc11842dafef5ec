// How kernels over lists of tensors walk on the device: blocks of a fixed size of all tensors in one launch.
#pragma once
#include <algorithm>
#include <tuple>

#include "../../core/checks.h"
#include "vectors.h"

namespace g2rpo::cuda {

/** The blocks of some tensors, counted through: no block reaches into two of them. */
struct Blocks {
  const RawView* items;  // [roles · count], on the device: role by role
  const size_t* first;   // [count + 1], on the device: the first block of each tensor
  size_t count, size;    // elements of a block

  struct Part {
    size_t tensor, begin, end;
  };
  __device__ Part part(size_t block) const {
    const size_t k = group_of(first, count, block), begin = (block - first[k]) * size, end = begin + size;
    return {k, begin, end < items[k].size ? end : items[k].size};
  }
  template <class T> __device__ T* data(size_t role, size_t tensor) const { return static_cast<T*>(items[role * count + tensor].data); }
};

/** Lists of one launch in the device's memory, a role each and all as long; the first one's sizes decide the blocks. */
class Lists {
 public:
  template <class... L>
  Lists(Stream& stream, size_t block_size, const L&... lists)
      : count_(std::get<0>(std::tie(lists...)).size), size_(block_size), host_(bytes(sizeof...(lists))), device_(stream, host_.size()) {
    auto* first = reinterpret_cast<size_t*>(host_.data());
    auto* item = reinterpret_cast<RawView*>(first + count_ + 1);
    ((item = std::copy_n(lists.items, count_, item)), ...);
    const auto* sizes = reinterpret_cast<RawView*>(first + count_ + 1);
    for (size_t i = 0; i < count_; i++) first[i + 1] = first[i] + (sizes[i].size + block_size - 1) / block_size;
    total_ = first[count_];
    device_.fill_from(host_.data(), host_.size());
  }
  size_t total() const { return total_; }
  Blocks blocks() const {
    const auto* first = reinterpret_cast<const size_t*>(device_.get());
    return {reinterpret_cast<const RawView*>(first + count_ + 1), first, count_, size_};
  }

 private:
  size_t bytes(size_t roles) const { return (count_ + 1) * sizeof(size_t) + roles * count_ * sizeof(RawView); }

  size_t count_, size_, total_ = 0;
  std::vector<unsigned char> host_;  // one piece, so that one copy is enough
  Temporary<unsigned char> device_;
};

template <class T, int I, int O, class F> __global__ void map_blocks(Blocks blocks, F f) {
  const auto [k, begin, end] = blocks.part(blockIdx.x);
  Arrays<T, I, O> a;
  bool wide = true;
  for (int i = 0; i < I; i++) a.in[i] = blocks.data<T>(i, k), wide &= aligned(a.in[i]);
  for (int o = 0; o < O; o++) a.out[o] = blocks.data<T>(I - O + o, k);
  if (wide) map_part<kWide<T>>(a, begin, end, f);
  else map_part<1>(a, begin, end, f);
}

/** The last O of some lists become f(all of them), element by element: f(const T (&in)[I], T (&out)[O]). */
template <class T, int O, class F, class... L> void map_lists(Stream& stream, const F& f, const L&... lists) {
  const Lists tables(stream, 4096, lists...);
  if (tables.total() > 0)
    launch(stream, map_blocks<T, sizeof...(lists), O, F>, static_cast<unsigned>(tables.total()), kThreads, tables.blocks(), f);
}

}  // namespace g2rpo::cuda
