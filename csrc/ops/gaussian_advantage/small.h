// Many segments of at most 16 rewards, with AVX-512. For hot files.
//
// A comparison of all rewards of a segment with one of them is a byte of bits; eight of these are an 8×8 matrix, whose row
// sums say how many rewards are smaller and whose column sums how many are larger. Matrices of many segments are summed together.
#pragma once
#if defined(__AVX512BW__)
#include <immintrin.h>

#include "../../backends/cpu/simd.h"
#include "table.h"

namespace g2rpo {

namespace {

constexpr size_t kTogether = 128;  // segments that are worked on together, at most

// shifts and sums by the compiler's operators, whose vectors are never "maybe uninitialized"
typedef uint64_t Words __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(64)));

/** The bits set in each byte. */
G2_INLINE Bytes bits_of_bytes(Bytes x) {
  const __m512i counts = _mm512_set_epi64(0x0403030203020201, 0x0302020102010100, 0x0403030203020201, 0x0302020102010100,
                                          0x0403030203020201, 0x0302020102010100, 0x0403030203020201, 0x0302020102010100);
  const Bytes low = x & 15, high = (Bytes)((Words)x >> 4) & 15;
  return (Bytes)_mm512_shuffle_epi8(counts, (__m512i)low) + (Bytes)_mm512_shuffle_epi8(counts, (__m512i)high);
}

/** Bit i of byte j becomes bit j of byte i, in every eight bytes. */
G2_INLINE Bytes transpose_bits(Bytes bytes) {
  const auto swap = [](Words x, int shift, uint64_t mask) __attribute__((always_inline)) {
    const Words t = (x ^ (x >> shift)) & mask;
    return x ^ t ^ (t << shift);
  };
  return (Bytes)swap(swap(swap((Words)bytes, 7, 0x00aa00aa00aa00aa), 14, 0x0000cccc0000cccc), 28, 0x00000000f0f0f0f0);
}

/** Table::place, byte by byte. */
G2_INLINE Bytes places(Bytes smaller, Bytes larger) { return (Bytes)((Words)smaller << 4) - larger; }

/** Eight entries of a table; faster than a gather. */
G2_INLINE __m512d look_up(const double* table, const uint8_t* at) {
  typedef double Vector __attribute__((vector_size(64)));
  return (__m512d)Vector{table[at[0]], table[at[1]], table[at[2]], table[at[3]], table[at[4]], table[at[5]], table[at[6]], table[at[7]]};
}

/** Segments of similar size: where they begin, how many rewards they have, and as many bits. */
struct Small {
  int32_t at[kTogether + 16], size[kTogether + 16], lanes[kTogether + 16];
  size_t count;
};

/** The first 16 of n; zeros where there are fewer. */
G2_INLINE Ints first_16(const int32_t* x, size_t n) {
  return (Ints)_mm512_maskz_loadu_epi32(static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffff), x);
}
G2_INLINE Ints sizes_of(const int32_t* starts, size_t segments) { return first_16(starts + 1, segments) - first_16(starts, segments); }

/** The segments of more than `above` and at most `most` rewards. */
G2_INLINE void choose(const int32_t* starts, size_t segments, int above, int most, Small& these) {
  these.count = 0;
  for (size_t s = 0; s < segments; s += 16) {
    const Ints size = sizes_of(starts + s, segments - s), lanes = (Ints)(((Bits{} + 1) << (Bits)(size & 31)) - 1);
    const __mmask16 mine = _mm512_cmpgt_epi32_mask((__m512i)size, _mm512_set1_epi32(above)) &
                           _mm512_cmple_epi32_mask((__m512i)size, _mm512_set1_epi32(most));
    _mm512_storeu_si512(these.at + these.count, _mm512_maskz_compress_epi32(mine, (__m512i)(first_16(starts + s, segments - s) - starts[0])));
    _mm512_storeu_si512(these.size + these.count, _mm512_maskz_compress_epi32(mine, (__m512i)size));
    _mm512_storeu_si512(these.lanes + these.count, _mm512_maskz_compress_epi32(mine, (__m512i)lanes));
    these.count += static_cast<size_t>(__builtin_popcount(mine));
  }
}

/** Segments of at most Rows ≤ 8. What lies behind them is compared too, and left out of the sums. */
template <int Rows> G2_INLINE void up_to_8(const double* x, const Small& these, const double* const* tables, double* out) {
  alignas(64) uint8_t rows[8 * kTogether];
  for (size_t c = 0; c < these.count; c++) {
    const double* own = x + these.at[c];
    const __m512d all = _mm512_loadu_pd(own);
#pragma GCC unroll 8
    for (int j = 0; j < Rows; j++)
      rows[8 * c + j] = static_cast<uint8_t>(_mm512_cmp_pd_mask(all, _mm512_set1_pd(own[j]), _CMP_LT_OQ));
  }
  // n bits in each of n bytes
  constexpr uint64_t kSquares[16] = {0, 0x1, 0x303, 0x70707, 0x0f0f0f0f, 0x1f1f1f1f1f, 0x3f3f3f3f3f3f, 0x7f7f7f7f7f7f7f, ~uint64_t{0}};
  const __m512i few = _mm512_loadu_si512(kSquares), many = _mm512_loadu_si512(kSquares + 8);
  for (size_t c = 0; c < these.count; c += 8) {
    const __m512i size = _mm512_maskz_cvtepi32_epi64(0xff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(these.size + c)));
    const Bytes m = *reinterpret_cast<const Bytes*>(rows + 8 * c) & (Bytes)_mm512_permutex2var_epi64(few, size, many);
    *reinterpret_cast<Bytes*>(rows + 8 * c) = places(bits_of_bytes(m), bits_of_bytes(transpose_bits(m)));
  }
  for (size_t c = 0; c < these.count; c++)
    _mm512_mask_storeu_pd(out + these.at[c], static_cast<__mmask8>(these.lanes[c]), look_up(tables[these.size[c]], rows + 8 * c));
}

/**
 * Segments of more than 8 and at most Rows, in four matrices: the first 8 rewards against all in `left`; the others against
 * each other in the second half of `right`, and, the other way round, against the first 8 in its first half.
 */
template <int Rows> G2_INLINE void up_to_16(const double* x, const Small& these, const double* const* tables, double* out) {
  alignas(64) uint8_t left[16 * kTogether], right[16 * kTogether], mine[16 * kTogether];
  constexpr uint8_t kOnes[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  for (size_t c = 0; c < these.count; c++) {
    const double* own = x + these.at[c];
    const __m512d low = _mm512_loadu_pd(own), high = _mm512_loadu_pd(own + 8);
    const __mmask8 lanes = static_cast<__mmask8>(these.lanes[c] >> 8);
    __builtin_memcpy(mine + 16 * c, kOnes + 16 - these.size[c], 16);
#pragma GCC unroll 16
    for (int j = 0; j < Rows; j++) {
      const __m512d one = _mm512_set1_pd(own[j]);
      left[16 * c + j] = static_cast<uint8_t>(_mm512_cmp_pd_mask(low, one, _CMP_LT_OQ));
      if (j < 8) continue;
      right[16 * c + j - 8] = static_cast<uint8_t>(_mm512_cmp_pd_mask(low, one, _CMP_GT_OQ));
      right[16 * c + j] = static_cast<uint8_t>(_mm512_mask_cmp_pd_mask(lanes, high, one, _CMP_LT_OQ));
    }
  }
  for (size_t b = 0; b < 16 * these.count; b += 64) {
    const Words keep = *reinterpret_cast<const Words*>(mine + b);
    const Bytes l = *reinterpret_cast<const Bytes*>(left + b) & (Bytes)keep;
    const Bytes r = *reinterpret_cast<const Bytes*>(right + b) & (Bytes)__builtin_shuffle(keep, Words{1, 1, 3, 3, 5, 5, 7, 7});
    const Words l_rows = (Words)bits_of_bytes(l), l_columns = (Words)bits_of_bytes(transpose_bits(l));
    const Words r_rows = (Words)bits_of_bytes(r), r_columns = (Words)bits_of_bytes(transpose_bits(r));
    const Words smaller = l_rows + __builtin_shuffle(r_columns, r_rows, Words{0, 9, 2, 11, 4, 13, 6, 15});
    const Words larger = __builtin_shuffle(l_columns, r_rows, Words{0, 8, 2, 10, 4, 12, 6, 14}) +
                         __builtin_shuffle(l_columns, r_columns, Words{1, 9, 3, 11, 5, 13, 7, 15});
    *reinterpret_cast<Bytes*>(left + b) = places((Bytes)smaller, (Bytes)larger);
  }
  for (size_t c = 0; c < these.count; c++) {
    const double* table = tables[these.size[c]];
    const uint8_t* at = left + 16 * c;
    double* to = out + these.at[c];
    const __mmask8 lanes = static_cast<__mmask8>(these.lanes[c] >> 8);
    _mm512_storeu_pd(to, look_up(table, at));
    if constexpr (Rows > 12) _mm512_mask_storeu_pd(to + 8, lanes, look_up(table, at + 8));
    else _mm256_mask_storeu_pd(to + 8, lanes, _mm256_setr_pd(table[at[8]], table[at[9]], table[at[10]], table[at[11]]));
  }
}

/**
 * All of at most kTogether segments but those of more than 16 rewards. x and out begin with the first segment; 16 doubles
 * behind the last one can be read. Returns the size of the largest segment.
 */
size_t small_segments(const double* x, const int32_t* starts, size_t segments, double* out) {
  Ints found{}, most{};  // bit n: there are segments of n
  for (size_t s = 0; s < segments; s += 16) {
    const Ints size = sizes_of(starts + s, segments - s);
    found |= (Ints)((Bits{} + 1) << (Bits)(size < 31 ? size : 31));
    most = size > most ? size : most;
  }
  const int32_t sizes = simd::fold<int32_t>(found, [](auto a, auto b) __attribute__((always_inline)) { return a | b; });
  const double* tables[kDirect + 1] = {};
  for (size_t n = 1; n <= kDirect; n++)
    if (sizes >> n & 1) tables[n] = table_of(n).direct;
  // by size first: a branch for each segment would be guessed wrong at every other
  Small these;
  const auto of = [&](int above, int last) __attribute__((always_inline)) {
    if (!(sizes & ((2 << last) - (2 << above)))) return false;
    choose(starts, segments, above, last, these);
    return true;
  };
  if (of(0, 6)) up_to_8<6>(x, these, tables, out);
  if (of(6, 8)) up_to_8<8>(x, these, tables, out);
  if (of(8, 10)) up_to_16<10>(x, these, tables, out);
  if (of(10, 12)) up_to_16<12>(x, these, tables, out);
  if (of(12, 16)) up_to_16<16>(x, these, tables, out);
  return static_cast<size_t>(simd::fold<int32_t>(most, [](auto a, auto b) __attribute__((always_inline)) { return a > b ? a : b; }));
}

}  // namespace

}  // namespace g2rpo
#endif
