// Many segments of at most 16 rewards, with AVX-512. For hot files.
//
// A reward is a lane; each reward of its segment is compared with all lanes at once, and the mask of the comparison adds to a
// count. The segments of a chunk are sorted by size first: where the compiler knows the size, masks are constant and nothing
// branches. A segment that leaves half of a vector empty shares it with another one.
#pragma once
#if defined(__AVX512BW__)
#include <immintrin.h>

#include "sort.h"
#include "table.h"

namespace g2rpo {

namespace {

constexpr size_t kBlock = 32;  // segments of a size that are ranked before it is seen whether ties are among them

typedef int64_t Counts __attribute__((vector_size(64)));

/** Why ranks alone are not enough: they are; rewards are equal, or NaN; some differ by no more than the tolerance. */
enum class Found { nothing, equal, near };

/** Lanes of a in the lower half, of b in the upper. */
G2_INLINE __m512d halves(__m512d a, __m512d b) { return _mm512_mask_blend_pd(0xf0, a, b); }
G2_INLINE Counts halves(Counts a, Counts b) { return (Counts)_mm512_mask_blend_epi64(0xf0, (__m512i)a, (__m512i)b); }

/** Counts how many rewards are smaller, and whether one is by no more than the tolerance, if that is wanted. */
template <bool Near> class Comparison {
 public:
  G2_INLINE explicit Comparison(double tolerance) : tolerance_(_mm512_set1_pd(tolerance)) {
    int64_t step = -1;
    asm("" : "+r"(step));  // a constant would be loaded for every comparison
    step_ = Counts{} + step;
  }
  template <int Lanes> G2_INLINE void count(Counts& smaller, __m512d own, __m512d other) {
    const __mmask8 larger = _mm512_mask_cmp_pd_mask(Lanes, own, other, _CMP_GT_OQ);
    if constexpr (Near) near_ |= _mm512_mask_cmp_pd_mask(larger, own - other, tolerance_, _CMP_LE_OQ);
    smaller = (Counts)_mm512_mask_sub_epi64((__m512i)smaller, larger, (__m512i)smaller, (__m512i)step_);
  }
  G2_INLINE bool near() const { return near_ != 0; }

 private:
  Counts step_;
  __m512d tolerance_;
  __mmask8 near_ = 0;
};

/** A number for each reward of one or two segments, a and b: the first 8, if there are more, and the rest, of both in one vector. */
struct Group {
  Counts first_a, first_b, rest;
};

/** Segments of N rewards. They are worked on in twos if what one puts in `rest` is at most half a vector. */
template <int N> struct Groups {
  static constexpr int kFirst = N > 8 ? 8 : 0, kRest = N - kFirst;
  static constexpr bool kTwo = kRest <= 4;
  static constexpr size_t kSegments = kTwo ? 2 : 1;
  static constexpr int kOwn = (1 << kRest) - 1, kLanes = kTwo ? kOwn | kOwn << 4 : kOwn;

  const int32_t* at;
  size_t segments;
  /** Where the second one begins; the last segment may stand for both. */
  G2_INLINE size_t second(size_t c) const { return static_cast<size_t>(at[kTwo && c + 1 < segments ? c + 1 : c]); }

  /** How many rewards of its segment are smaller. */
  template <bool Near> G2_INLINE Group smaller(const double* x, size_t c, Comparison<Near>& compare) const {
    const double *a = x + at[c], *b = x + second(c);
    const __m512d first_a = _mm512_maskz_loadu_pd(kFirst ? 0xff : 0, a), first_b = _mm512_maskz_loadu_pd(kFirst && kTwo ? 0xff : 0, b);
    __m512d rest = _mm512_maskz_loadu_pd(kOwn, a + kFirst);
    if constexpr (kTwo) rest = _mm512_mask_loadu_pd(rest, kOwn << 4, b + kFirst - 4);
    Group count{};
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) {
      const __m512d of_a = _mm512_set1_pd(a[j]), of_b = _mm512_set1_pd(b[j]);
      if constexpr (kFirst > 0) compare.template count<0xff>(count.first_a, first_a, of_a);
      if constexpr (kFirst > 0 && kTwo) compare.template count<0xff>(count.first_b, first_b, of_b);
      compare.template count<kLanes>(count.rest, rest, kTwo ? halves(of_a, of_b) : of_a);
    }
    return count;
  }

  /** Table::place of the ties, which are the rewards that share a number of smaller ones: a histogram of these counts them. */
  G2_INLINE static Group places(const Group& smaller) {
    // four bits for each number; 16 ties spill to where nobody looks
    const auto one = [](int lanes, Counts number) __attribute__((always_inline)) {
      return (Counts)_mm512_maskz_sllv_epi64(static_cast<__mmask8>(lanes), (__m512i)(Counts{} + 1), (__m512i)(4 * number));
    };
    const auto both_halves = [](Counts v) __attribute__((always_inline)) {
      return v + __builtin_shuffle(v, Counts{4, 5, 6, 7, 0, 1, 2, 3});
    };
    const auto place = [](Counts number, Counts histogram) __attribute__((always_inline)) {
      const Counts ties = (Counts)_mm512_maskz_srlv_epi64(0xff, (__m512i)histogram, (__m512i)(4 * number));
      return static_cast<int64_t>(kDirect) * number + ((ties - 1) & 15);
    };
    Counts sum = one(kLanes, smaller.rest);
    if constexpr (!kTwo) sum = both_halves(kFirst ? sum + one(0xff, smaller.first_a) : sum);
    else if constexpr (kFirst > 0) sum += halves(both_halves(one(0xff, smaller.first_a)), both_halves(one(0xff, smaller.first_b)));
    sum += __builtin_shuffle(sum, Counts{2, 3, 0, 1, 6, 7, 4, 5});
    sum += __builtin_shuffle(sum, Counts{1, 0, 3, 2, 5, 4, 7, 6});
    const Counts of_a = kTwo ? __builtin_shuffle(sum, Counts{0, 1, 2, 3, 0, 1, 2, 3}) : sum;
    const Counts of_b = __builtin_shuffle(sum, Counts{4, 5, 6, 7, 4, 5, 6, 7});
    return {place(smaller.first_a, of_a), place(smaller.first_b, of_b), place(smaller.rest, sum)};
  }

  /** mean(number of each) */
  template <class Mean> G2_INLINE void store(double* out, size_t c, const Group& group, Mean&& mean) const {
    double *a = out + at[c], *b = out + second(c);
    if constexpr (kFirst > 0) _mm512_storeu_pd(a, mean(group.first_a));
    if constexpr (kFirst > 0 && kTwo) _mm512_storeu_pd(b, mean(group.first_b));
    const __m512d rest = mean(group.rest);
    _mm512_mask_storeu_pd(a + kFirst, kOwn, rest);
    if constexpr (kTwo) _mm512_mask_storeu_pd(b + kFirst - 4, kOwn << 4, rest);
  }
};

/** The advantages by rank; anything, unless nothing is found. */
template <int N, bool Near>
Found by_rank(const double* x, const Groups<N>& groups, double tolerance, const Table& table, double* out) {
  constexpr int kFirst = Groups<N>::kFirst, kOwn = Groups<N>::kOwn;
  const __m512d low = _mm512_maskz_loadu_pd(kFirst ? 0xff : kOwn, table.single);
  const __m512d high = _mm512_maskz_loadu_pd(kFirst ? kOwn : 0, table.single + kFirst);
  Counts sum{};
  int64_t wanted = 0;
  Comparison<Near> compare(tolerance);
  for (size_t c = 0; c < groups.segments; c += Groups<N>::kSegments) {
    const Group rank = groups.smaller(x, c, compare);
    groups.store(out, c, rank, [&](Counts ranks) __attribute__((always_inline)) {
      if constexpr (kFirst == 0) return _mm512_maskz_permutexvar_pd(0xff, (__m512i)ranks, low);
      else return _mm512_permutex2var_pd(low, (__m512i)ranks, high);
    });
    sum += rank.first_a + rank.first_b + rank.rest;
    wanted += static_cast<int>(Groups<N>::kSegments) * N * (N - 1) / 2;
  }
  if (compare.near()) return Found::near;
  // equal rewards have fewer smaller ones than their ranks say, and so has NaN
  const int64_t found = simd::fold<int64_t>(sum, [](auto a, auto b) __attribute__((always_inline)) { return a + b; });
  return found == wanted ? Found::nothing : Found::equal;
}

/** The advantages, whatever is tied. */
template <int N> void with_ties(const double* x, const Groups<N>& groups, const Table& table, double* out) {
  Comparison<false> compare(0);
  for (size_t c = 0; c < groups.segments; c += Groups<N>::kSegments) {
    const Group place = Groups<N>::places(groups.smaller(x, c, compare));
    groups.store(out, c, place, [&](Counts places) __attribute__((always_inline)) {
      return _mm512_mask_i64gather_pd(__m512d{}, 0xff, (__m512i)places, table.direct, sizeof(double));
    });
  }
}

/**
 * Where the segments of a chunk begin, by size, if they have at most kDirect rewards. Two are filed at a time, at either end of a
 * list that grows from its middle, so that one need not wait for the other.
 */
class BySize {
 public:
  G2_INLINE BySize(const int32_t* starts, size_t segments) {
    for (size_t n = 0; n <= kDirect; n++) begin_[n] = end_[n] = at_[n] + kChunk / 2;
    const int32_t n = starts[1] - starts[0];
    int32_t differ = 0, most = 0;
    for (size_t s = 0; s < segments; s++) {
      const int32_t size = starts[s + 1] - starts[s];
      differ |= size ^ n;
      most = size > most ? size : most;
    }
    large_ = static_cast<size_t>(most) > kDirect;
    const auto size = [&](size_t s) __attribute__((always_inline)) { return static_cast<uint32_t>(starts[s + 1] - starts[s]); };
    if (large_) {
      for (size_t s = 0; s < segments; s++)
        if (size(s) <= kDirect) *end_[size(s)]++ = starts[s];
    } else if (!differ) {
      begin_[n] = at_[n];
      end_[n] = at_[n] + segments;
      for (size_t s = 0; s < segments; s++) at_[n][s] = starts[0] + n * static_cast<int32_t>(s);
    } else {
      const size_t half = segments / 2;
      for (size_t s = 0; s < half; s++) {
        *--begin_[size(s)] = starts[s];
        *end_[size(s + half)]++ = starts[s + half];
      }
      if (segments % 2) *end_[size(segments - 1)]++ = starts[segments - 1];
    }
  }
  G2_INLINE const int32_t* at(size_t n) const { return begin_[n]; }
  G2_INLINE size_t count(size_t n) const { return static_cast<size_t>(end_[n] - begin_[n]); }
  /** Whether some have more rewards. */
  G2_INLINE bool large() const { return large_; }

 private:
  int32_t at_[kDirect + 1][kChunk + kChunk / 2];
  int32_t *begin_[kDirect + 1], *end_[kDirect + 1];
  bool large_;
};

/**
 * The small segments of a chunk. `clean` says that there is no NaN; where neither ranks nor ties are all, `other` is called
 * for each segment.
 */
template <class Clean, class Other> class SmallSegments {
 public:
  G2_INLINE SmallSegments(const double* x, double tolerance, double* out, const Clean& clean, const Other& other)
      : x_(x), tolerance_(tolerance), out_(out), clean_(clean), other_(other) {}

  /** Those of N rewards and more. Returns false if there is a NaN. */
  template <size_t N> G2_INLINE bool all_from(const BySize& segments) {
    if (segments.count(N) && !of<N>(segments.at(N), segments.count(N))) return false;
    if constexpr (N < kDirect) return all_from<N + 1>(segments);
    return true;
  }

 private:
  template <size_t N> bool of(const int32_t* at, size_t count) {
    const Table& table = table_of(N);
    for (size_t b = 0; b < count; b += kBlock, at += kBlock) {
      const Groups<N> groups{at, count - b < kBlock ? count - b : kBlock};
      // where one block has ties, others will
      const Found found = tolerance_ > 0 ? by_rank<N, true>(x_, groups, tolerance_, table, out_)
                          : ties_        ? Found::equal
                                         : by_rank<N, false>(x_, groups, 0, table, out_);
      if (found == Found::nothing) continue;
      if (!ties_ && !clean_()) return false;
      ties_ = true;
      if (found == Found::equal) with_ties<N>(x_, groups, table, out_);
      else for (size_t c = 0; c < groups.segments; c++) other_(at[c], N);
    }
    return true;
  }

  const double* x_;
  double tolerance_;
  double* out_;
  const Clean& clean_;
  const Other& other_;
  bool ties_ = false;
};

}  // namespace

}  // namespace g2rpo
#endif
