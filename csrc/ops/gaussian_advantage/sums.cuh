// Sums of quantiles, from which the mean of any block of tied ranks follows: on the device for good, once they were needed.
#pragma once
#include <map>
#include <mutex>

#include "../../backends/cuda/device.h"
#include "../normal_quantile/quantile.cuh"

namespace g2rpo {

namespace {

constexpr size_t kTabled = 1024;  // the sums of all sizes up to this one are kept together

/**
 * The mean quantile of ranks b…e−1 (0-based) of n, as the CPU's tables have it: only the lower half is summed, in two parts, and
 * what of a block has its mirror image in the block cancels before, so that a symmetric block is exactly 0. Known: both parts are there.
 */
template <bool Known> struct SumsOf {
  const double *high, *low;  // [n/2 + 1]; no low: the sums have their rounding, and of few ranks the quantiles are added themselves
  size_t n;

  __host__ __device__ double lower(size_t b, size_t e) const {
    if constexpr (!Known)  // kernels that need no quantiles are without their code: it would cost a quarter of the threads
      if (!low) {
        if (e - b > 16) return high[e] - high[b];
        double sum = 0;
        for (size_t r = b; r < e; r++) sum += quantile_of((static_cast<double>(r) + 0.5) / static_cast<double>(n));
        return sum;
      }
    return (high[e] - high[b]) + (low[e] - low[b]);
  }
  __host__ __device__ double mean(size_t b, size_t e) const {
    const size_t mb = n - e, me = n - b;  // the mirror image
    const double count = static_cast<double>(e - b);
    if (b < mb) return lower(b, mb < e ? mb : e) / count;
    if (b > mb) return -lower(mb, me < b ? me : b) / count;
    return 0;
  }
};

using Sums = SumsOf<false>;

/** Those of n, high before low, at the end of a list. */
void append_sums(size_t n, std::vector<double>& list) {
  const size_t half = n / 2, at = list.size();
  list.resize(at + 2 * (half + 1));
  double *high = list.data() + at, *low = high + half + 1;
  for (size_t r = 0; r < half; r++) {
    const double q = quantile_of((static_cast<double>(r) + 0.5) / static_cast<double>(n)), s = high[r] + q, t = s - high[r];
    high[r + 1] = s;
    low[r + 1] = low[r] + ((high[r] - (s - t)) + (q - t));
  }
}

/** Sums of all sizes up to kTabled, one behind the other. */
struct SmallSums {
  const double* sums;
  __device__ SumsOf<true> of(size_t n) const {
    const size_t before = n - 1, halves = (before / 2) * ((before + 1) / 2);  // ⌊1/2⌋ + ⌊2/2⌋ + … + ⌊before/2⌋
    const double* at = sums + 2 * (halves + before);
    return {at, at + n / 2 + 1, n};
  }
};

/** Sums on the device: of small sizes together and for good, of every other size from when it is first met until there are too many. */
class KeptSums {
 public:
  SmallSums small(Stream& stream) {
    const std::lock_guard lock(mutex_);
    if (!small_) {
      std::vector<double> all;
      for (size_t n = 1; n <= kTabled; n++) append_sums(n, all);
      small_ = upload(stream, all);
    }
    return {small_};
  }
  /** `holder` is to live until all that reads them is launched. */
  Sums of(Stream& stream, size_t n, std::shared_ptr<double>& holder) {
    const std::lock_guard lock(mutex_);
    auto found = kept_.find(n);
    if (found == kept_.end()) {
      if (kept_.size() == kMost) kept_.clear();
      std::vector<double> sums;
      append_sums(n, sums);
      // whose end waits for what is under way
      found = kept_.emplace(n, std::shared_ptr<double>(upload(stream, sums), [](double* memory) { cudaFree(memory); })).first;
    }
    holder = found->second;
    return {holder.get(), holder.get() + n / 2 + 1, n};
  }

 private:
  static constexpr size_t kMost = 64;  // sizes
  static double* upload(Stream& stream, const std::vector<double>& sums) {
    double* to = nullptr;
    const size_t bytes = sums.size() * sizeof(double);
    cuda::check(cudaMalloc(&to, bytes), "allocating");
    cuda::check(cudaMemcpyAsync(to, sums.data(), bytes, cudaMemcpyHostToDevice, stream.queue->stream), "copying to the device");
    cuda::check(cudaStreamSynchronize(stream.queue->stream), "copying to the device");
    return to;
  }

  std::mutex mutex_;
  double* small_ = nullptr;
  std::map<size_t, std::shared_ptr<double>> kept_;
};

}  // namespace

}  // namespace g2rpo
