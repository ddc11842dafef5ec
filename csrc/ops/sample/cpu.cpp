// hot
// The sampled id is the one whose clock rings first: exponential variates divided by the weights eᶻ⁻ᵐ, which is the same draw
// as the largest logit plus Gumbel noise, with one logarithm less. Sampling by temperature alone, with or without banned
// ids, does it in the pass that sums the weights.
#include "../../core/arena.h"
#include "arguments.h"
#include "exponential.h"
#include "select.h"

namespace g2rpo {

namespace {

using simd::kGroup;
using simd::lanes;
using simd::Mask;
using simd::RandomKey;
using simd::splat;
using simd::Vec;

constexpr size_t kSum = 1024;       // ids whose weights are summed in the type of the logits, before f64 takes over
constexpr size_t kItem = 1 << 14;   // logits of an item of the pool

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/** The best id so far, lane by lane; the lowest of equals. */
template <class T> struct Best {
  Vec<T> score;
  Mask<T> id;

  explicit Best(T none) : score(splat<T>(none)), id(Mask<T>{} - 1) {}

  G2_INLINE void offer(Vec<T> scores, size_t first) {
    Mask<T> ids;
    for (int i = 0; i < lanes<T>; i++) ids[i] = i;
    const Mask<T> better = scores > score;
    score = better ? scores : score;
    id = better ? ids + static_cast<decltype(ids[0] + 0)>(first) : id;
  }
  /** −1 if no score was above `none`. */
  int32_t winner() const {
    int32_t found = -1;
    T top = 0;
    for (int i = 0; i < lanes<T>; i++) {
      if (id[i] < 0) continue;
      const int32_t candidate = static_cast<int32_t>(id[i]);
      if (found >= 0 && !(score[i] > top || (score[i] == top && candidate < found))) continue;
      found = candidate;
      top = score[i];
    }
    return found;
  }
};

/** Which of the first n bytes are not 0; false for the other lanes. */
template <class T> G2_INLINE Mask<T> is_set(const uint8_t* bytes, size_t n) {
  typedef uint8_t Bytes __attribute__((vector_size(lanes<T>)));
  Bytes b;
  uint8_t some[lanes<T>] = {};
  if (n < lanes<T>)
    for (size_t i = 0; i < n; i++) some[i] = bytes[i];
  __builtin_memcpy(&b, n < lanes<T> ? some : bytes, lanes<T>);
  return __builtin_convertvector(b, Mask<T>) != 0;
}

template <class T> T largest(const T* x, size_t n) {
  constexpr size_t w = lanes<T>;
  Vec<T> m = splat<T>(-__builtin_inf());
  for (size_t v = 0; v < n; v += w) m = simd::max(simd::load_n<T>(x + v, least(w, n - v), T(-__builtin_inf())), m);
  return simd::largest<T>(m);
}

/** Σ e and Σ e·x of e = exp x, x = logits·scale − m. */
struct Sums {
  double weight = 0, product = 0;
};

/**
 * Sums the weights of a row and, if asked, runs the race among its allowed ids. m is the largest logit times scale.
 * @return the id that won, −1 if every allowed weight vanishes
 */
template <class T, bool Race>
int32_t sum_and_race(const T* logits, size_t n, T scale, T m, const uint8_t* allowed, const RandomKey& key, Sums& sums) {
  constexpr size_t w = lanes<T>;
  const Vec<T> s = splat<T>(scale), shift = splat<T>(m), floor = splat<T>(-1e30f);
  Best<T> best(0);
  alignas(64) int32_t bits[kGroup];
  for (size_t begin = 0; begin < n; begin += kSum) {
    Vec<T> weight{}, product{};
    for (size_t group = begin; group < least(begin + kSum, n); group += kGroup) {
      if constexpr (Race) simd::random_bits(key, group / kGroup, bits);
      for (size_t v = group; v < least(group + kGroup, n); v += w) {
        const size_t count = least(w, n - v);
        const Vec<T> x = simd::load_n<T>(logits + v, count, T(-__builtin_inf())) * s - shift;
        const Vec<T> e = simd::exp(x);
        weight += e;
        product = simd::fma(e, simd::max(x, floor), product);  // 0 · −∞ is 0 here
        if constexpr (Race) {
          Vec<T> score = e / simd::exponential(simd::uniform<T>(bits + (v - group)));
          if (allowed) score = is_set<T>(allowed + v, count) ? score : Vec<T>{};
          best.offer(score, v);
        }
      }
    }
    sums.weight += static_cast<double>(simd::sum<T>(weight));
    sums.product += static_cast<double>(simd::sum<T>(product));
  }
  return best.winner();
}

/** Turns logits into those that sampling sees: repetition penalty, banned ids, temperature (0 counts as 1). */
template <class T> void adjust(const Sample<T>& op, const T* logits, const uint8_t* seen, size_t n, T* out) {
  const T penalty = static_cast<T>(op.repetitionPenalty);
  const T scale = op.temperature > 0 ? static_cast<T>(1 / op.temperature) : T(1);
  for (size_t v = 0; v < n; v++) {
    T z = logits[v];
    if (seen && seen[v]) z = z > 0 ? z / penalty : z * penalty;
    out[v] = op.allowed && !op.allowed[v] ? T(-__builtin_inf()) : z * scale;
  }
}

/** Keeps the k largest and everything tied with the k-th; the others become −∞. */
template <class T> void keep_top_k(T* z, size_t n, size_t k) {
  if (k == 0 || k >= n) return;
  Scratch scratch;
  T* values = scratch.take<T>(n);
  __builtin_memcpy(values, z, n * sizeof(T));
  const T bound = simd::select_falling<T>(values, nullptr, n, static_cast<double>(k)).value;
  for (size_t v = 0; v < n; v++) z[v] = z[v] >= bound ? z[v] : T(-__builtin_inf());
}

/** Keeps the shortest prefix, in falling order and lower ids first among equals, whose probabilities reach p; at least one id. */
template <class T> void keep_top_p(T* z, size_t n, double p) {
  constexpr size_t w = lanes<T>;
  if (p >= 1) return;
  Scratch scratch;
  T* values = scratch.take<T>(n + w);
  T* weights = scratch.take<T>(n + w);
  const T m = largest(z, n);
  size_t count = 0;
  for (size_t v = 0; v < n; v++)
    if (z[v] > T(-__builtin_inf())) values[count++] = z[v];
  double total = 0;
  for (size_t v = 0; v < count; v += w) {
    simd::store<T>(weights + v, simd::exp(simd::load_n<T>(values + v, least(w, count - v)) - m));
    for (size_t i = v; i < least(v + w, count); i++) total += static_cast<double>(weights[i]);
  }
  if (count == 0) return;
  const auto bound = simd::select_falling<T>(values, weights, count, p * total);
  const double weight = static_cast<double>(simd::exp(splat<T>(bound.value - m))[0]);
  double reached = bound.above;
  bool none = true;
  for (size_t v = 0; v < n; v++) {
    bool keep = z[v] > bound.value;
    if (z[v] == bound.value && (none || reached < p * total)) {
      reached += weight;
      none = false;
      keep = true;
    }
    if (!keep) z[v] = T(-__builtin_inf());
  }
}

template <class T> int32_t sample_row(const Sample<T>& op, size_t row, size_t n) {
  const T* logits = op.logits.data + row * n;
  const int32_t* k = op.keys.data + row * 4;
  const RandomKey key{static_cast<uint32_t>(k[0]), static_cast<uint32_t>(k[1]), static_cast<uint32_t>(k[2]), static_cast<uint32_t>(k[3])};
  const uint8_t* seen = op.seen && op.repetitionPenalty != 1 ? op.seen.data + row * n : nullptr;
  const bool greedy = op.temperature == 0;
  const bool filtered = (op.topK > 0 && static_cast<size_t>(op.topK) < n) || op.topP < 1;
  const bool plain = !greedy && !seen && !filtered;

  const T scale = greedy ? T(1) : static_cast<T>(1 / op.temperature);
  const T m = largest(logits, n) * scale;
  Sums sums;
  int32_t token = plain ? sum_and_race<T, true>(logits, n, scale, m, op.allowed.data, key, sums)
                        : sum_and_race<T, false>(logits, n, scale, m, nullptr, key, sums);
  if (!(sums.weight - sums.weight == 0) || m - m != 0) return n == 0 ? kNothingAllowed : kNotFinite;
  if (token < 0) {
    Scratch scratch;
    T* z = scratch.take<T>(n);
    adjust(op, logits, seen, n, z);
    if (greedy) {
      Best<T> best(T(-__builtin_inf()));
      for (size_t v = 0; v < n; v += lanes<T>)
        best.offer(simd::load_n<T>(z + v, least(lanes<T>, n - v), T(-__builtin_inf())), v);
      token = best.winner();
    } else {
      keep_top_k(z, n, static_cast<size_t>(op.topK));
      keep_top_p(z, n, op.topP);
      Sums ignored;
      const T top = largest(z, n);
      if (top - top == 0) token = sum_and_race<T, true>(z, n, T(1), top, nullptr, key, ignored);
    }
    if (token < 0) return kNothingAllowed;
  }
  const double log_sum = __builtin_log(sums.weight);
  const double entropy = log_sum - sums.product / sums.weight;
  op.logProbs[row] = static_cast<T>(static_cast<double>(logits[token] * scale) - static_cast<double>(m) - log_sum);
  op.entropy[row] = static_cast<T>(entropy < 0 ? 0 : entropy);  // rounding alone makes it negative
  return token;
}

}  // namespace

KERNEL_REAL(cpu, Sample) {
  if (!sampling_arguments_hold(stream, op)) return;
  const size_t rows = op.tokens.size, n = op.logits.dim[1];
  const size_t together = n < kItem ? kItem / (n + 1) + 1 : 1;
  parallel_for(stream, (rows + together - 1) / together, [&](size_t item) {
    for (size_t row = item * together; row < least((item + 1) * together, rows); row++) op.tokens[row] = sample_row(op, row, n);
  });
  for (size_t row = 0; row < rows; row++)
    if (op.tokens[row] < 0) return fail(stream, "NON_FINITE", RowMessage(op.kName, row, op.tokens[row]).text);
}

}  // namespace g2rpo
