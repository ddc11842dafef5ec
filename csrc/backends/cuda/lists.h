// How kernels over lists of tensors walk on the device: blocks of a fixed size of all tensors in one launch.
#pragma once
#include "device.h"

namespace g2rpo::cuda {

/** The blocks of some tensors, counted through: no block reaches into two of them. */
struct Blocks {
  const RawView* items;  // [count], on the device
  const size_t* first;   // [count + 1], on the device: the first block of each tensor
  size_t count, size;    // elements of a block

  struct Part {
    size_t tensor, begin, end;
  };
  __device__ Part part(size_t block) const {
    size_t low = 0, high = count;  // first[low] <= block < first[high]
    while (high - low > 1) {
      const size_t middle = (low + high) / 2;
      (first[middle] <= block ? low : high) = middle;
    }
    const size_t begin = (block - first[low]) * size, end = begin + size;
    return {low, begin, end < items[low].size ? end : items[low].size};
  }
};

/** Lists of one launch in the device's memory. */
class Lists {
 public:
  Lists(Stream& stream, const RawView* items, size_t count, size_t block_size)
      : items_(stream, count), first_(stream, count + 1), count_(count), size_(block_size), firsts_(count + 1) {
    for (size_t i = 0; i < count; i++) firsts_[i + 1] = firsts_[i] + (items[i].size + block_size - 1) / block_size;
    items_.fill_from(items, count);
    first_.fill_from(firsts_.data(), count + 1);
  }
  size_t total() const { return firsts_.back(); }
  const std::vector<size_t>& firsts() const { return firsts_; }
  Blocks blocks() const { return {items_.get(), first_.get(), count_, size_}; }

 private:
  Temporary<RawView> items_;
  Temporary<size_t> first_;
  size_t count_, size_;
  std::vector<size_t> firsts_;
};

}  // namespace g2rpo::cuda
