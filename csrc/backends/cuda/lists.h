// How kernels over lists of tensors walk on the device: blocks of a fixed size of all tensors in one launch.
#pragma once
#include <algorithm>
#include <tuple>
#include <utility>

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

/** Elements of one list that a thread has under way. */
template <class E, int W> struct Ahead {
  E* at;
  Pack<std::remove_const_t<E>, W> held[kPacks];

  __device__ Ahead(E* at, size_t step) : at(at) {
    for (int p = 0; p < kPacks; p++) held[p] = load<W>(at + p * step);
  }
  __device__ void put(int p, size_t step) const {
    if constexpr (!std::is_const_v<E>) store<W>(at + p * step, held[p]);
  }
};

template <int W, class F, class... E> __device__ void map_ahead(const F& f, size_t k, size_t i, size_t step, Ahead<E, W>... lists) {
  for (int p = 0; p < kPacks; p++) {
    for (int w = 0; w < W; w++) f(k, i + p * step + w, lists.held[p].x[w]...);
    (lists.put(p, step), ...);
  }
}

/** The elements [begin, end) of tensor k, by all threads of a block; aligned at begin. */
template <int W, class F, class... E> __device__ void map_tensor(const F& f, size_t k, size_t begin, size_t end, E*... data) {
  const size_t step = blockDim.x * W;
  for (size_t i = begin + threadIdx.x * W; i < end; i += kPacks * step) {
    if (i + (kPacks - 1) * step + W <= end) {
      map_ahead<W>(f, k, i, step, Ahead<E, W>(data + i, step)...);
      continue;
    }
    for (int p = 0; p < kPacks; p++)
      for (size_t j = i + p * step; j < end && j < i + p * step + W; j++) f(k, j, data[j]...);
  }
}

/** Elements of a pack, the same for all lists: 16 bytes of the largest type. */
template <class... E> constexpr int kWideOfAll = std::min({kWide<std::remove_const_t<E>>...});

template <class F, class... E, size_t... Role> __device__ void map_roles(const F& f, const Blocks& blocks, std::index_sequence<Role...>, const ViewList<E>*...) {
  constexpr int wide = kWideOfAll<E...>;
  const auto [k, begin, end] = blocks.part(blockIdx.x);
  if (aligned(blocks.data<E>(Role, k)...)) map_tensor<wide>(f, k, begin, end, blocks.data<E>(Role, k)...);
  else map_tensor<1>(f, k, begin, end, blocks.data<E>(Role, k)...);
}
template <class F, class... E> __global__ void map_blocks(Blocks blocks, F f) {
  map_roles(f, blocks, std::index_sequence_for<E...>{}, static_cast<const ViewList<E>*>(nullptr)...);
}

/** f(k, i, its element of every list) for element i of tensor k, for all of them; those of lists that are not const may be changed. */
template <class F, class... E> void map_lists(Stream& stream, const F& f, const ViewList<E>&... lists) {
  const Lists tables(stream, 4096, lists...);
  if (tables.total() > 0)
    launch(stream, map_blocks<F, E...>, static_cast<unsigned>(tables.total()), kThreads, tables.blocks(), f);
}

}  // namespace g2rpo::cuda
