// What a slice of the vocabulary adds to a row: its largest logit, what is summed of its weights, and its best id. Slices may be met in
// any order, on any thread; joined in theirs they have the same bits, whether their logits lie in one row or were computed slice by slice.
// Hot files only.
//
// The sampled id is the one whose clock rings first: exponential variates divided by the weights eˣ, which is the same draw as the
// largest logit plus Gumbel noise, with one logarithm less. It is mostly not taken: no clock rings before u, the random number that it is
// made of, so that only ids whose weight is at least u times the best score so far can win.
#pragma once
#include "arguments.h"
#include "exponential.h"

namespace g2rpo {

namespace {

using simd::kGroup;
using simd::lanes;
using simd::Mask;
using simd::RandomKey;
using simd::splat;
using simd::Vec;

/** Ids of a slice: whole groups of random numbers, whole panels of the products that compute logits, and few enough for sums in the type of the logits. */
constexpr size_t kSlice = 960;

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
G2_INLINE size_t slices_of(size_t n) { return (n + kSlice - 1) / kSlice; }

/** How an id is chosen: by the race, as the largest logit, or not yet. */
enum class Pick { race, largest, none };

/** x are (z − largest) / temperature: differences of large logits are exact, their quotients are not. */
struct Slice {
  double largest, weight, product;  // logit; Σ eˣ, Σ eˣ·x
  double score, from, logit;        // of the best id: the logarithm of what it has in the race if the largest logit were `from`, or its logit
  int32_t token;                    // −1 if no id is allowed and has a probability, or all that may be here are beaten
};

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

/** Of the ids that are allowed; −∞ if there are none. */
template <class T> T largest_of(const T* z, size_t n, const uint8_t* allowed) {
  constexpr size_t w = lanes<T>;
  const Vec<T> none = splat<T>(-__builtin_inf());
  Vec<T> m = none;
  size_t v = 0;
  if (!allowed)
    for (; v + w <= n; v += w) m = simd::max(simd::load<T>(z + v), m);
  for (; v < n; v += w) {
    const size_t count = least(w, n - v);
    const Vec<T> logits = simd::load_n<T>(z + v, count, T(-__builtin_inf()));
    m = simd::max(allowed ? (is_set<T>(allowed + v, count) ? logits : none) : logits, m);
  }
  return simd::largest<T>(m);
}

/** n ids from `first` on, a multiple of kSlice; z and `allowed` (null: all are) begin there. x are relative to `top`, a logit. Ids that race against `beaten` and lose may be left out. */
template <class T, Pick P>
Slice meet_ids(const T* z, size_t n, size_t first, T scale, T top, T beaten, const uint8_t* allowed, const RandomKey& key) {
  constexpr size_t w = lanes<T>;
  constexpr T kSurely = 1 - T(1e-5);  // clocks and scores are exact to less
  const Vec<T> s = splat<T>(scale), shift = splat<T>(top > -__builtin_inf() ? top : 0), floor = splat<T>(-1e30f);
  Best<T> best(P == Pick::race ? 0 : -__builtin_inf());
  Vec<T> weight{}, product{}, bar = splat<T>(beaten * kSurely);
  alignas(64) int32_t bits[kGroup];
  const auto meet = [&](Vec<T> logits, size_t v, size_t count) __attribute__((always_inline)) {
    const Vec<T> x = (logits - shift) * s;
    const Vec<T> e = simd::exp(x);
    weight += e;
    product = simd::fma(e, simd::max(x, floor), product);  // 0 · −∞ is 0 here
    if constexpr (P == Pick::race) {
      const Vec<T> u = simd::uniform<T>(bits + v % kGroup);
      if (!simd::any_at_least(e, u * bar)) return;
      Vec<T> score = e / simd::exponential(u);
      if (allowed) score = is_set<T>(allowed + v, count) ? score : Vec<T>{};
      best.offer(score, v);
      bar = simd::max(splat<T>(simd::largest<T>(best.score) * kSurely), bar);
    } else if constexpr (P == Pick::largest) {
      best.offer(allowed ? (is_set<T>(allowed + v, count) ? logits : splat<T>(-__builtin_inf())) : logits, v);
    }
  };
  for (size_t group = 0; group < n; group += kGroup) {
    if constexpr (P == Pick::race) simd::random_bits(key, (first + group) / kGroup, bits);
    const size_t end = least(group + kGroup, n);
    size_t v = group;
    for (; v + w <= end; v += w) meet(simd::load<T>(z + v), v, w);
    if (v < end) meet(simd::load_n<T>(z + v, end - v, T(-__builtin_inf())), v, end - v);
  }
  Slice slice{static_cast<double>(top), static_cast<double>(simd::sum<T>(weight)), static_cast<double>(simd::sum<T>(product)), 0, 0, 0, best.winner()};
  if (slice.token >= 0) {
    slice.score = static_cast<double>(simd::largest<T>(best.score));
    if (P == Pick::race) slice.score = __builtin_log(slice.score), slice.from = static_cast<double>(top);
    slice.logit = static_cast<double>(z[slice.token]);
    slice.token += static_cast<int32_t>(first);
  }
  return slice;
}

/** A score of a row's race as one number, good enough to leave out ids that lose against it by more than rounding. */
G2_INLINE double known_score(const Slice& slice, double scale) {
  const double from = slice.from * scale, rounding = 1e-15 * __builtin_fabs(from);
  return from - from == 0 ? slice.score + from - rounding : -__builtin_inf();
}

/** A slice of a row, from id `first` on: a multiple of kSlice. `scale` is 1 / temperature; `known` a `known_score` of this row, or −∞. */
template <class T, Pick P> Slice measure_slice(const T* z, size_t n, size_t first, T scale, double known, const uint8_t* allowed, const RandomKey& key) {
  constexpr double kFar = 40;  // from here on weights of what is allowed vanish beside that of the largest
  const T top = largest_of<T>(z, n, nullptr);
  const double at = static_cast<double>(top) * static_cast<double>(scale);
  const double ahead = at - at == 0 ? known - at - 1e-15 * __builtin_fabs(at) : -__builtin_inf();
  const T beaten = static_cast<T>(ahead < 80 ? __builtin_exp(ahead) : 1e35);  // no weight here comes near it
  Slice slice = meet_ids<T, P>(z, n, first, scale, top, P == Pick::race ? beaten : 0, allowed, key);
  if (P != Pick::race || !allowed || ahead > -kFar || (slice.token >= 0 && (slice.largest - slice.logit) * static_cast<double>(scale) < kFar)) return slice;
  const T own = largest_of(z, n, allowed);
  slice.token = -1;
  if (own == -__builtin_inf()) return slice;
  const Slice best = meet_ids<T, P>(z, n, first, scale, own, 0, allowed, key);
  slice.score = best.score, slice.from = best.from, slice.logit = best.logit, slice.token = best.token;
  return slice;
}

/** All slices of a row. */
G2_INLINE Slice join_slices(Pick pick, const Slice* slices, size_t count, double scale) {
  Slice row{-__builtin_inf(), 0, 0, -__builtin_inf(), 0, 0, -1};
  for (size_t i = 0; i < count; i++) row.largest = slices[i].largest > row.largest ? slices[i].largest : row.largest;
  for (size_t i = 0; i < count; i++) {
    const Slice& s = slices[i];
    const double shift = (s.largest - row.largest) * scale, f = shift == 0 ? 1 : __builtin_exp(shift);
    row.weight += f * s.weight;
    row.product += f > 0 ? f * (s.product + s.weight * shift) : 0;  // 0 · −∞ is 0 here too
    if (s.token < 0) continue;
    const double score = pick == Pick::race ? s.score + (s.from - row.largest) * scale : s.score;  // equal logits have equal terms, however large
    if (row.token < 0 || score > row.score) row.token = s.token, row.score = score, row.logit = s.logit;
  }
  return row;
}

}  // namespace

}  // namespace g2rpo
