#include "peaks.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "../core/arena.h"
#include "../core/kernel.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace g2rpo::host {

namespace {

constexpr int kChains = 12;  // enough to hide the latency of a multiply-add on two units
constexpr int kSteps = 20000;

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Each runs kSteps × kChains multiply-adds of vectors and returns how many numbers of each factor these have; the asm keeps the chains in registers.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) int chains_avx512() {
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  __m512 acc[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) acc[i] = x;
  for (int s = 0; s < kSteps; s++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) acc[i] = _mm512_fmadd_ps(acc[i], x, y);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) asm volatile("" : "+v"(acc[i]));
  }
  return 16;
}
__attribute__((target("avx512f,avx512bf16"))) int chains_pairs() {
  const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f003f00);  // halves
  __m512 acc[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) acc[i] = _mm512_set1_ps(0.5f);
  for (int s = 0; s < kSteps; s++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) acc[i] = _mm512_dpbf16_ps(acc[i], x, x);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) asm volatile("" : "+v"(acc[i]));
  }
  return 32;
}
__attribute__((target("avx2,fma"))) int chains_avx2() {
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  __m256 acc[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) acc[i] = x;
  for (int s = 0; s < kSteps; s++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) acc[i] = _mm256_fmadd_ps(acc[i], x, y);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) asm volatile("" : "+x"(acc[i]));
  }
  return 8;
}
int chains_generic() {
  const __m128 x = _mm_set1_ps(0.999f), y = _mm_set1_ps(0.001f);
  __m128 acc[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) acc[i] = x;
  for (int s = 0; s < kSteps; s++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) acc[i] = _mm_add_ps(_mm_mul_ps(acc[i], x), y);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) asm volatile("" : "+x"(acc[i]));
  }
  return 4;
}
#elif defined(__aarch64__)
int chains_generic() {
  const float32x4_t x = vdupq_n_f32(0.999f), y = vdupq_n_f32(0.001f);
  float32x4_t acc[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; i++) acc[i] = x;
  for (int s = 0; s < kSteps; s++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) acc[i] = vfmaq_f32(acc[i], x, y);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) asm volatile("" : "+w"(acc[i]));
  }
  return 4;
}
#else
int chains_generic() {
  float acc[kChains];
  for (int i = 0; i < kChains; i++) acc[i] = 0.999f;
  for (int s = 0; s < kSteps; s++)
    for (int i = 0; i < kChains; i++) {
      acc[i] = acc[i] * 0.999f + 0.001f;
      asm volatile("" : "+m"(acc[i]));
    }
  return 1;
}
#endif

int chains() {
#if defined(__x86_64__)
  if (host_isa() >= Isa::avx512) return chains_avx512();
  if (host_isa() == Isa::avx2) return chains_avx2();
#endif
  return chains_generic();
}

/** The rate that one try in four exceeds: neighbours make most tries slower, a clock that was read late makes a few too fast. */
template <class F> double upper_rate(int tries, F&& amount_of_work) {
  std::vector<double> rates;
  for (int i = 0; i < tries; i++) {
    const double start = cpu_seconds(), amount = amount_of_work();
    rates.push_back(amount / (cpu_seconds() - start));
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() * 3 / 4];
}

}  // namespace

Peaks measure_peaks() {
  Peaks peaks;
  chains();
  const auto rate_of = [](int (*run)()) { return upper_rate(200, [run] { return 2.0 * kSteps * kChains * run(); }); };
  peaks.flops = peaks.bf16_flops = rate_of(chains);
#if defined(__x86_64__)
  if (host_isa() == Isa::avx512bf16) peaks.bf16_flops = rate_of(chains_pairs);
#endif
  constexpr size_t kBytes = size_t{64} << 20;  // more than a core's share of any cache
  const auto release = [](void* p) { deallocate(p, kBytes); };
  std::unique_ptr<void, decltype(release)> from(allocate(kBytes), release), to(allocate(kBytes), release);
  std::memset(from.get(), 1, kBytes);
  std::memset(to.get(), 2, kBytes);
  peaks.bytes = upper_rate(7, [&] {
    std::memcpy(to.get(), from.get(), kBytes);
    asm volatile("" : : "r"(to.get()) : "memory");
    return 2.0 * kBytes;
  });
  return peaks;
}

}  // namespace g2rpo::host
