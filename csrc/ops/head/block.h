// A block of tokens against the vocabulary: its logits, what is summed of them, and their gradient. Hot files only.
#pragma once
#include "../../core/arena.h"
#include "op.h"
#include "tile.h"

namespace g2rpo {

namespace {

using simd::lanes;
using simd::splat;
using simd::Vec;

constexpr size_t kBlock = 64;    // tokens per item of the pool, and the row stride of a logit tile
constexpr size_t kSum = 64;      // rows summed before they join a second sum, which keeps f32 sums exact to 1e-6
constexpr double kCoarse = 256;  // from here on f32 rounds a normaliser by more than 1e-5

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
G2_INLINE size_t blocks_of(size_t n, size_t size) { return (n + size - 1) / size; }

/** What all three ops share. */
template <class T, class W> struct Problem {
  const T* hidden;
  const W* weight;
  const int32_t* targets;
  size_t tokens, width, vocabulary;
  T scale;  // 1 / temperature
};

template <class Op> Problem<typename Op::Real, typename Op::Weight> problem_of(const Op& op) {
  using T = typename Op::Real;
  return {op.hidden.data, op.weight.data, op.targets.data, op.targets.size, op.hidden.dim[1], op.weight.dim[0],
          static_cast<T>(1 / op.temperature)};
}

/** A block of at most kBlock tokens with its hidden states packed as panels of columns. */
template <class T> struct Block {
  size_t first, tokens, panels;
  T* packed;

  template <class W> Block(const Problem<T, W>& p, size_t first_token, Scratch& scratch) : first(first_token), tokens(least(kBlock, p.tokens - first)) {
    constexpr size_t columns = simd::kPanel<T>;
    panels = blocks_of(tokens, columns);
    packed = scratch.take<T>(panels * columns * p.width);
    for (size_t j = 0; j < panels; j++)
      simd::pack_transposed<T>(p.hidden + (first + j * columns) * p.width, p.width, least(columns, tokens - j * columns), p.width,
                               packed + j * columns * p.width);
  }

  /** z[rows][kBlock] = the weight's rows times the hidden states, before the temperature. */
  template <class W> void logits(const Problem<T, W>& p, size_t row, size_t rows, T* z) const {
    constexpr size_t columns = simd::kPanel<T>;
    Scratch scratch;
    T* room = __is_same(T, W) ? nullptr : scratch.take<T>(simd::kTileRows * p.width);
    for (size_t v = 0; v < rows; v += simd::kTileRows) {
      const size_t count = least(simd::kTileRows, rows - v);
      const T* weight = simd::real_values(p.weight + (row + v) * p.width, count * p.width, room);
      for (size_t j = 0; j < panels; j++)
        simd::tiles<T>(count, weight, p.width, 1, packed + j * columns * p.width, p.width, z + v * kBlock + j * columns, kBlock, columns,
                       false);
    }
  }
};

/**
 * Of each token, over the tiles folded so far: the largest logit m before the temperature, Σ eˣ and Σ eˣ·x of x = (z − m) / temperature;
 * and the target's logit. Differences are taken before the temperature divides: those of large logits are exact, their quotients
 * are not.
 */
template <class T> struct Statistics {
  double sum[kBlock], product[kBlock];
  T largest[kBlock], target[kBlock], scale;

  explicit Statistics(T scale) : scale(scale) {
    for (size_t t = 0; t < kBlock; t++) sum[t] = product[t] = largest[t] = target[t] = 0;
  }

  template <class W> void fold(const Problem<T, W>& p, const Block<T>& block, const T* z, size_t row, size_t rows) {
    constexpr size_t w = lanes<T>;
    const Vec<T> scale = splat<T>(p.scale);
    T tile_largest[kBlock], tile_sum[kBlock], tile_product[kBlock];
    for (size_t g = 0; g < block.panels * 2 * w; g += 2 * w) {
      Vec<T> m0 = simd::load<T>(z + g), m1 = simd::load<T>(z + g + w);
      for (size_t v = 1; v < rows; v++) {
        m0 = simd::max(m0, simd::load<T>(z + v * kBlock + g));
        m1 = simd::max(m1, simd::load<T>(z + v * kBlock + g + w));
      }
      Vec<T> s0{}, s1{}, u0{}, u1{};
      for (size_t begin = 0; begin < rows; begin += kSum) {
        Vec<T> a0{}, a1{}, b0{}, b1{};
        for (size_t v = begin; v < least(begin + kSum, rows); v++) {
          const Vec<T> x0 = (simd::load<T>(z + v * kBlock + g) - m0) * scale;
          const Vec<T> x1 = (simd::load<T>(z + v * kBlock + g + w) - m1) * scale;
          const Vec<T> e0 = simd::exp(x0), e1 = simd::exp(x1);
          a0 += e0;
          a1 += e1;
          b0 = simd::fma(e0, x0, b0);
          b1 = simd::fma(e1, x1, b1);
        }
        s0 += a0;
        s1 += a1;
        u0 += b0;
        u1 += b1;
      }
      simd::store<T>(tile_largest + g, m0);
      simd::store<T>(tile_largest + g + w, m1);
      simd::store<T>(tile_sum + g, s0);
      simd::store<T>(tile_sum + g + w, s1);
      simd::store<T>(tile_product + g, u0);
      simd::store<T>(tile_product + g + w, u1);
    }
    for (size_t t = 0; t < block.tokens; t++) {
      join(t, tile_largest[t], tile_sum[t], tile_product[t]);
      const size_t y = static_cast<size_t>(p.targets[block.first + t]);
      if (y >= row && y - row < rows) target[t] = z[(y - row) * kBlock + t];
    }
  }

  void join(size_t t, T m, double s, double u) {
    if (sum[t] == 0) {
      largest[t] = m;
      sum[t] = s;
      product[t] = u;
      return;
    }
    const double shift = scaled(m, largest[t]);
    if (shift > 0) {
      const double f = __builtin_exp(-shift);
      product[t] = f * (product[t] - sum[t] * shift) + u;
      sum[t] = f * sum[t] + s;
      largest[t] = m;
    } else {
      const double f = __builtin_exp(shift);
      product[t] += f * (u + s * shift);
      sum[t] += f * s;
    }
  }

  void finish(size_t t, T* log_prob, T* entropy, T* log_sum_exp) const {
    const double h = log_sum(t) - product[t] / sum[t];
    *log_prob = static_cast<T>(scaled(target[t], largest[t]) - log_sum(t));
    *entropy = static_cast<T>(h < 0 ? 0 : h);  // rounding alone makes it negative
    *log_sum_exp = static_cast<T>(scaled(largest[t], 0) + log_sum(t));
  }

  double log_sum(size_t t) const { return __builtin_log(sum[t]); }
  double scaled(T a, T b) const { return (static_cast<double>(a) - static_cast<double>(b)) * static_cast<double>(scale); }
};

/** What turns logits into log-probabilities: log p = (z − shift) / temperature − log_sum. */
template <class T> struct Normalisers {
  T *shift, *log_sum;

  Normalisers(size_t tokens, Scratch& scratch) : shift(scratch.take<T>(tokens)), log_sum(scratch.take<T>(tokens)) {}
  static bool coarse(T log_sum_exp) { return __builtin_fabs(static_cast<double>(log_sum_exp)) > kCoarse; }
  void set(size_t token, T log_sum_exp) const {
    shift[token] = 0;
    log_sum[token] = log_sum_exp;
  }
  void set(size_t token, const Statistics<T>& statistics, size_t t) const {
    shift[token] = statistics.largest[t];
    log_sum[token] = static_cast<T>(statistics.log_sum(t));
  }
};

/** Per token, padded with zeros: what turns logits into their gradient. */
template <class T> struct Slopes {
  T log_prob[kBlock] = {}, entropy[kBlock] = {}, shift[kBlock] = {}, log_sum[kBlock] = {}, value[kBlock] = {};  // value: the entropy itself

  /** The arrays begin at token 0. */
  Slopes(const Block<T>& block, const T* d_log_probs, const T* d_entropy, const Normalisers<T>& normalisers, const T* entropies) {
    for (size_t t = 0, i = block.first; t < block.tokens; t++, i++) {
      log_prob[t] = d_log_probs[i];
      entropy[t] = d_entropy[i];
      shift[t] = normalisers.shift[i];
      log_sum[t] = normalisers.log_sum[i];
      value[t] = entropies[i];
    }
  }

  /** z becomes dz = (log_prob·(1[v = y] − p) − entropy·p·(log p + value)) / temperature, rows of the weight [row, row + rows) */
  template <class W> void apply(const Problem<T, W>& p, const Block<T>& block, T* z, size_t row, size_t rows) const {
    constexpr size_t w = lanes<T>;
    const Vec<T> scale = splat<T>(p.scale);
    for (size_t g = 0; g < block.panels * 2 * w; g += w) {
      const Vec<T> a = simd::load<T>(log_prob + g), e = simd::load<T>(entropy + g), h = simd::load<T>(value + g);
      const Vec<T> from = simd::load<T>(shift + g), sum = simd::load<T>(log_sum + g);
      for (size_t v = 0; v < rows; v++) {
        const Vec<T> log_p = simd::fma(simd::load<T>(z + v * kBlock + g) - from, scale, -sum);
        simd::store<T>(z + v * kBlock + g, -scale * simd::exp(log_p) * simd::fma(e, log_p + h, a));
      }
    }
    for (size_t t = 0; t < block.tokens; t++) {
      const size_t y = static_cast<size_t>(p.targets[block.first + t]);
      if (y >= row && y - row < rows) z[(y - row) * kBlock + t] += log_prob[t] * p.scale;
    }
  }
};

}  // namespace

}  // namespace g2rpo
