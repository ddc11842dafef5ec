// A block of tokens against the vocabulary: what is summed of its logits, and their gradient. Logits lie transposed, [vocabulary
// rows][tokens]: tokens run along the lanes, so that maxima and sums over the vocabulary need no reduction across lanes. Hot files only.
#pragma once
#include "../../backends/cpu/rows.h"
#include "../../core/arena.h"
#include "op.h"

namespace g2rpo {

namespace {

using simd::lanes;
using simd::splat;
using simd::Vec;

constexpr size_t kBlock = 288;   // tokens of a block: what is summed over tokens is summed block by block
constexpr size_t kTile = 252;    // most rows of the weight whose logits stay in a near cache from their product to their sums
constexpr size_t kTiles = 4;     // least, so that threads have something to share
constexpr size_t kEven = 9;      // rows of a tile are a multiple of
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
  T scale;        // 1 / temperature
  size_t stride;  // between rows of logits: a block's tokens in whole vectors
  size_t tile;    // rows of the weight that are taken together

  size_t tiles() const { return blocks_of(vocabulary, tile); }
  size_t rows_of(size_t t) const { return least(tile, vocabulary - t * tile); }
  size_t tokens_of(size_t block) const { return least(kBlock, tokens - block * kBlock); }
};

template <class Op> Problem<typename Op::Real, typename Op::Weight> problem_of(const Op& op) {
  using T = typename Op::Real;
  const size_t tokens = op.targets.size, vocabulary = op.weight.dim[0];
  constexpr size_t w = lanes<T>;
  const size_t tiles = vocabulary > kTiles * kTile ? blocks_of(vocabulary, kTile) : kTiles;
  return {op.hidden.data, op.weight.data, op.targets.data, tokens, op.hidden.dim[1], vocabulary, static_cast<T>(1 / op.temperature),
          blocks_of(least(kBlock, tokens), w) * w, blocks_of(blocks_of(vocabulary + 1, tiles), kEven) * kEven};
}

/**
 * Of each token of a block and each tile: the largest logit m before the temperature, Σ eˣ and Σ eˣ·x of x = (z − m) / temperature; and
 * the target's logit. Differences are taken before the temperature divides: those of large logits are exact, their quotients are not.
 */
template <class T> struct Statistics {
  T *largest, *sum, *product;  // [tiles][kBlock]
  T* target;                   // [kBlock]
  double scale;

  static size_t size(size_t tiles) { return (3 * tiles + 1) * kBlock; }
  Statistics(T* room, size_t tiles, T scale)
      : largest(room), sum(room + tiles * kBlock), product(room + 2 * tiles * kBlock), target(room + 3 * tiles * kBlock), scale(static_cast<double>(scale)) {}

  template <class W> void fold(const Problem<T, W>& p, size_t block, const T* z, size_t tile) const {
    constexpr size_t w = lanes<T>;
    const size_t rows = p.rows_of(tile), tokens = p.tokens_of(block), vectors = blocks_of(tokens, w);
    size_t g = 0;
    for (; g + 4 <= vectors; g += 4) fold_columns<4>(p, z + g * w, rows, tile * kBlock + g * w);
    for (; g < vectors; g++) fold_columns<1>(p, z + g * w, rows, tile * kBlock + g * w);
    for (size_t t = 0; t < tokens; t++) {
      const size_t y = static_cast<size_t>(p.targets[block * kBlock + t]);
      if (y / p.tile == tile) target[t] = z[y % p.tile * p.stride + t];
    }
  }

  /** N vectors of tokens, side by side. */
  template <size_t N, class W> void fold_columns(const Problem<T, W>& p, const T* z, size_t rows, size_t at) const {
    constexpr size_t w = lanes<T>;
    const Vec<T> factor = splat<T>(p.scale);
    Vec<T> m[N], total[N] = {}, weighted[N] = {};
    for (size_t n = 0; n < N; n++) m[n] = simd::load<T>(z + n * w);
    for (size_t v = 1; v < rows; v++)
#pragma GCC unroll 4
      for (size_t n = 0; n < N; n++) m[n] = simd::max(m[n], simd::load<T>(z + v * p.stride + n * w));
    for (size_t begin = 0; begin < rows; begin += kSum) {
      Vec<T> a[N] = {}, b[N] = {};
      for (size_t v = begin; v < least(begin + kSum, rows); v++)
#pragma GCC unroll 4
        for (size_t n = 0; n < N; n++) {
          const Vec<T> x = (simd::load<T>(z + v * p.stride + n * w) - m[n]) * factor, e = simd::exp(x);
          a[n] += e;
          b[n] = simd::fma(e, x, b[n]);
        }
      for (size_t n = 0; n < N; n++) total[n] += a[n], weighted[n] += b[n];
    }
    for (size_t n = 0; n < N; n++) {
      simd::store<T>(largest + at + n * w, m[n]);
      simd::store<T>(sum + at + n * w, total[n]);
      simd::store<T>(product + at + n * w, weighted[n]);
    }
  }

  /** All tiles of a token. */
  struct Whole {
    double sum, product;
    T largest;
    double log_sum() const { return __builtin_log(sum); }
  };
  Whole join(size_t tiles, size_t t) const {
    Whole whole{0, 0, largest[t]};
    for (size_t i = 1; i < tiles; i++)
      if (!(largest[i * kBlock + t] <= whole.largest)) whole.largest = largest[i * kBlock + t];
    for (size_t i = 0; i < tiles; i++) {
      const double shift = scaled(largest[i * kBlock + t], whole.largest), f = shift == 0 ? 1 : __builtin_exp(shift);
      const double s = static_cast<double>(sum[i * kBlock + t]);
      whole.product += f * (static_cast<double>(product[i * kBlock + t]) + s * shift);
      whole.sum += f * s;
    }
    return whole;
  }

  void finish(const Whole& whole, size_t t, T* log_prob, T* entropy, T* log_sum_exp) const {
    const double log_sum = whole.log_sum(), h = log_sum - whole.product / whole.sum;
    *log_prob = static_cast<T>(scaled(target[t], whole.largest) - log_sum);
    *entropy = static_cast<T>(h < 0 ? 0 : h);  // rounding alone makes it negative
    *log_sum_exp = static_cast<T>(scaled(whole.largest, 0) + log_sum);
  }

  double scaled(T a, T b) const { return (static_cast<double>(a) - static_cast<double>(b)) * scale; }
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
  void set(size_t token, const typename Statistics<T>::Whole& whole) const {
    shift[token] = whole.largest;
    log_sum[token] = static_cast<T>(whole.log_sum());
  }
};

/** What turns logits into their gradient; arrays begin at token 0. */
template <class T> struct Slopes {
  const T *log_probs, *entropies;  // of the loss, by what it sees
  const T* values;                 // the entropies themselves
  Normalisers<T> normalisers;

  /** Of logits z their slopes dz, which may take their place: dz = (slope·(1[v = y] − p) − entropySlope·p·(log p + entropy)) / temperature */
  template <class W> void apply(const Problem<T, W>& p, size_t block, const T* z, T* dz, size_t tile) const {
    constexpr size_t w = lanes<T>;
    const Vec<T> scale = splat<T>(p.scale), floor = splat<T>(-1000);  // where exp is 0 in f64 too
    const size_t rows = p.rows_of(tile), tokens = p.tokens_of(block), first = block * kBlock;
    struct {
      Vec<T> a, e, h, from, sum;
    } of[kBlock / w];
    for (size_t g = 0; g < tokens; g += w) {
      const size_t n = least(w, tokens - g), at = first + g;
      of[g / w] = {-scale * simd::load_n<T>(log_probs + at, n), -scale * simd::load_n<T>(entropies + at, n), simd::load_n<T>(values + at, n),
                   simd::load_n<T>(normalisers.shift + at, n), -simd::load_n<T>(normalisers.log_sum + at, n)};
    }
    for (size_t v = 0; v < rows; v++)
      for (size_t g = 0; g < tokens; g += w) {
        const auto& k = of[g / w];
        const size_t at = v * p.stride + g;
        const Vec<T> log_p = simd::fma(simd::load<T>(z + at) - k.from, scale, k.sum);
        // what has no weight has no slope, however far off it is: at low temperatures the product would be infinite
        simd::store<T>(dz + at, simd::exp(log_p) * simd::fma(k.e, simd::max(log_p, floor) + k.h, k.a));
      }
    for (size_t t = 0; t < tokens; t++) {
      const size_t y = static_cast<size_t>(p.targets[first + t]);
      if (y / p.tile == tile) dz[y % p.tile * p.stride + t] += log_probs[first + t] * p.scale;
    }
  }
};

}  // namespace

}  // namespace g2rpo
