// Keys and values of tokens that were computed, in pages of a fixed number of tokens. A page is of one sequence and of all layers.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "../../ops/visual_splice/op.h"
#include "layers.h"

namespace g2rpo::qwen3vl {

/** Pages of a sequence, in the order of its tokens. */
using Pages = std::vector<int32_t>;

template <class T> class KvCache {
 public:
  /** At most `limit` pages of `page` tokens; memory grows with what is written. */
  KvCache(const TextConfig& text, size_t page, size_t limit) : text_(text), page_(page), limit_(limit), layers_(2 * text.layers) {}
  ~KvCache() { clear(); }
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  size_t page() const { return page_; }
  size_t limit() const { return limit_; }
  /** Sequences may have to give their pages back. */
  bool bounded() const { return limit_ < INT32_MAX; }
  size_t pages_of(size_t tokens) const { return (tokens + page_ - 1) / page_; }
  /** pages that may still be taken */
  size_t available() const { return limit_ - used_; }

  /** Makes place for so many pages at once, if there is none yet, instead of little by little. @throws OUT_OF_MEMORY */
  void expect(Stream& stream, size_t pages) {
    if (count_ == 0) grow(stream, pages);
  }
  /** Gives a sequence room for so many tokens; as many pages must be available. @throws OUT_OF_MEMORY */
  void take(Stream& stream, Pages& pages, size_t tokens) {
    while (pages.size() < pages_of(tokens)) {
      if (free_.empty()) grow(stream, std::max<size_t>(64, 2 * count_));
      // on the CPU address space is no memory: a page counts from when it is first written
      if (const auto next = static_cast<size_t>(free_.back()) + 1; next > touched_ && !counted_) {
        claim_memory((next - touched_) * page_bytes());
        touched_ = next;
      }
      pages.push_back(free_.back());
      free_.pop_back();
      used_++;
    }
  }
  void give_back(Pages& pages) {
    used_ -= pages.size();
    free_.insert(free_.end(), pages.rbegin(), pages.rend());
    pages.clear();
  }
  /** Frees all memory; no sequence may have a page. */
  void clear() {
    for (auto& each : layers_) each = {};
    free_.clear();
    yield_memory(touched_ * page_bytes());
    count_ = touched_ = 0;
  }

  /** Of an accelerator so many slots, the first ones, are nobody's. */
  static constexpr size_t kNobodys = 32;
  /** Adds what says where the pages lie, and how many there are. */
  void add_places(std::vector<size_t>& key) const {
    key.insert(key.end(), {count_, page_});
    for (const auto& each : layers_) key.push_back(reinterpret_cast<size_t>(each.data()));
  }

  /** [pages, page, kv heads, head dim] */
  View<const T> keys(size_t layer) const { return view(layers_[2 * layer]); }
  View<const T> values(size_t layer) const { return view(layers_[2 * layer + 1]); }

  /** Where tokens [from, from + count) of a sequence lie: rows of key_size() elements; added to `slots`. */
  void slots_of(const Pages& pages, size_t from, size_t count, std::vector<int32_t>& slots) const {
    for (size_t token = from; token < from + count; token++)
      slots.push_back(static_cast<int32_t>(static_cast<size_t>(pages[token / page_]) * page_ + token % page_));
  }
  /** Row `rows[i]` of keys and values, [n, key_size()] each, goes to slot i. */
  void write(Stream& stream, size_t layer, View<const int32_t> slots, View<const int32_t> rows, size_t n, const T* keys, const T* values) {
    const size_t ks = text_.key_size();
    run(stream, VisualSplice<T>{matrix(keys, n, ks), slots, rows, matrix(layers_[2 * layer].data(), slots_there(), ks)});
    run(stream, VisualSplice<T>{matrix(values, n, ks), slots, rows, matrix(layers_[2 * layer + 1].data(), slots_there(), ks)});
  }
  /** Where a kernel writes by slots that it is handed. */
  T* keys_of_slots(size_t layer) { return layers_[2 * layer].data(); }
  T* values_of_slots(size_t layer) { return layers_[2 * layer + 1].data(); }
  void read(Stream& stream, size_t layer, View<const int32_t> slots, T* keys, T* values) const {
    const size_t ks = text_.key_size();
    run(stream, GatherRows<T>{matrix<const T>(layers_[2 * layer].data(), slots_there(), ks), slots, matrix(keys, slots.size, ks)});
    run(stream, GatherRows<T>{matrix<const T>(layers_[2 * layer + 1].data(), slots_there(), ks), slots, matrix(values, slots.size, ks)});
  }

 private:
  size_t slots_there() const { return (spare_ + count_) * page_; }
  size_t page_bytes() const { return layers_.size() * page_ * text_.key_size() * sizeof(T); }

  View<const T> view(const Array<T, false>& all) const {
    View<const T> v(all.data(), (spare_ + count_) * page_ * text_.key_size());
    v.dim[0] = spare_ + count_, v.dim[1] = page_, v.dim[2] = text_.kv_heads, v.dim[3] = text_.head_dim;
    return v;
  }

  /** On the CPU what is not written takes no memory, so that doubling is no waste. */
  void grow(Stream& stream, size_t pages) {
    const size_t wanted = std::min(limit_, pages), size = page_ * text_.key_size();
    counted_ = stream.accelerator != nullptr;
    spare_ = stream.accelerator ? pages_of(kNobodys) : 0;
    for (auto& each : layers_) {
      Array<T, false> larger((spare_ + wanted) * size, stream.accelerator);
      if (count_) copy(stream, larger.data(), each.data(), (spare_ + count_) * size);
      each = std::move(larger);
    }
    for (size_t p = wanted; p-- > count_;) free_.push_back(static_cast<int32_t>(spare_ + p));
    count_ = wanted;
  }

  const TextConfig& text_;
  size_t page_, limit_, used_ = 0, count_ = 0, touched_ = 0;
  size_t spare_ = 0;  // pages that are nobody's, before the others
  bool counted_ = false;  // by the arrays: an accelerator's
  std::vector<Array<T, false>> layers_;  // keys and values in turn
  Pages free_;
};

/** Where the rows of a pass stand in the cache: parts of sequences, one after the other. Its lists live in the scratch. */
template <class T> class CachedRows {
 public:
  struct Part {
    const Pages* pages;
    size_t past, rows;  // tokens before those of the pass, and these
  };
  CachedRows(Stream& stream, KvCache<T>& cache, const std::vector<Part>& parts, Scratch& scratch) : cache_(cache) {
    for (const auto& part : parts) {
      cache.slots_of(*part.pages, 0, part.past, before_);
      cache.slots_of(*part.pages, part.past, part.rows, own_);
    }
    rows_.resize(own_.size());
    std::iota(rows_.begin(), rows_.end(), 0);
    views_ = {on_device(stream, before_, scratch), on_device(stream, own_, scratch), on_device(stream, rows_, scratch)};
  }
  CachedRows(const CachedRows&) = delete;
  CachedRows& operator=(const CachedRows&) = delete;

  size_t past() const { return before_.size(); }
  /** The keys and values before the rows of the pass. */
  void load(Stream& stream, size_t layer, T* keys, T* values) const { cache_.read(stream, layer, views_.before, keys, values); }
  void store(Stream& stream, size_t layer, const T* keys, const T* values) const {
    cache_.write(stream, layer, views_.own, views_.rows, rows_.size(), keys, values);
  }

 private:
  KvCache<T>& cache_;
  std::vector<int32_t> before_, own_, rows_;  // slots, and 0, 1, …
  struct {
    View<const int32_t> before, own, rows;
  } views_;
};

}  // namespace g2rpo::qwen3vl
