// Keys and values of tokens that were computed, in pages of a fixed number of tokens. A page is of one sequence and of all layers.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "../../core/arena.h"
#include "../../core/tensor.h"
#include "config.h"

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
  void expect(size_t pages) {
    if (count_ == 0) grow(pages);
  }
  /** Gives a sequence room for so many tokens; as many pages must be available. @throws OUT_OF_MEMORY */
  void take(Pages& pages, size_t tokens) {
    while (pages.size() < pages_of(tokens)) {
      if (free_.empty()) grow(std::max<size_t>(64, 2 * count_));
      // address space is no memory: a page counts from when it is first written
      if (const auto next = static_cast<size_t>(free_.back()) + 1; next > touched_) {
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

  /** [pages, page, kv heads, head dim] */
  View<const T> keys(size_t layer) const { return view(layers_[2 * layer]); }
  View<const T> values(size_t layer) const { return view(layers_[2 * layer + 1]); }

  /** Puts the keys and values of tokens [from, from + count) of a sequence where they belong. */
  void write(size_t layer, const Pages& pages, size_t from, size_t count, const T* keys, const T* values) {
    each_piece(pages, from, count, [&](size_t at, size_t done, size_t size) {
      std::memcpy(layers_[2 * layer].data() + at, keys + done, size * sizeof(T));
      std::memcpy(layers_[2 * layer + 1].data() + at, values + done, size * sizeof(T));
    });
  }
  /** The first `count` tokens of a sequence, one after the other. */
  void read(size_t layer, const Pages& pages, size_t count, T* keys, T* values) const {
    each_piece(pages, 0, count, [&](size_t at, size_t done, size_t size) {
      std::memcpy(keys + done, layers_[2 * layer].data() + at, size * sizeof(T));
      std::memcpy(values + done, layers_[2 * layer + 1].data() + at, size * sizeof(T));
    });
  }

 private:
  size_t page_bytes() const { return layers_.size() * page_ * text_.key_size() * sizeof(T); }

  View<const T> view(const Array<T, false>& all) const {
    View<const T> v(all.data(), count_ * page_ * text_.key_size());
    v.dim[0] = count_, v.dim[1] = page_, v.dim[2] = text_.kv_heads, v.dim[3] = text_.head_dim;
    return v;
  }

  /** Elements that lie together: where in the cache, where in the sequence, how many. */
  template <class Visit> void each_piece(const Pages& pages, size_t from, size_t count, Visit&& visit) const {
    const size_t ks = text_.key_size();
    for (size_t done = 0, piece; done < count; done += piece) {
      const size_t token = from + done, offset = token % page_;
      piece = std::min(count - done, page_ - offset);
      visit((static_cast<size_t>(pages[token / page_]) * page_ + offset) * ks, done * ks, piece * ks);
    }
  }

  /** What is not written takes no memory of the machine, so that doubling is no waste. */
  void grow(size_t pages) {
    const size_t wanted = std::min(limit_, pages), size = page_ * text_.key_size();
    for (auto& each : layers_) {
      Array<T, false> larger(wanted * size);
      if (count_) std::memcpy(larger.data(), each.data(), count_ * size * sizeof(T));
      each = std::move(larger);
    }
    for (size_t p = wanted; p-- > count_;) free_.push_back(static_cast<int32_t>(p));
    count_ = wanted;
  }

  const TextConfig& text_;
  size_t page_, limit_, used_ = 0, count_ = 0, touched_ = 0;
  std::vector<Array<T, false>> layers_;  // keys and values in turn
  Pages free_;
};

/** Where the rows of a pass stand in the cache: parts of sequences, one after the other. */
template <class T> struct CachedRows {
  struct Part {
    const Pages* pages;
    size_t past, rows;  // tokens before those of the pass, and these
  };
  KvCache<T>& cache;
  const size_t key_size;
  std::vector<Part> parts;

  size_t past() const {
    size_t sum = 0;
    for (const auto& part : parts) sum += part.past;
    return sum;
  }
  /** The keys and values before the rows of the pass. */
  void load(size_t layer, T* keys, T* values) const {
    for (const auto& part : parts) {
      cache.read(layer, *part.pages, part.past, keys, values);
      keys += part.past * key_size;
      values += part.past * key_size;
    }
  }
  void store(size_t layer, const T* keys, const T* values) const {
    for (const auto& part : parts) {
      cache.write(layer, *part.pages, part.past, part.rows, keys, values);
      keys += part.rows * key_size;
      values += part.rows * key_size;
    }
  }
};

}  // namespace g2rpo::qwen3vl
