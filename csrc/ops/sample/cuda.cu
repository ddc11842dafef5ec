// A block to a row. As on the CPU the id whose clock rings first is sampled; top-k and top-p find their bounds digit by digit, by
// integers that are added up: logits by their bits, weights as shares of 2⁶².
#include <cmath>

#include "../../backends/cuda/device.h"
#include "arguments.h"

namespace g2rpo {

namespace {

constexpr unsigned kBlock = 1024;
constexpr size_t kGroup = 64;  // ids of 16 calls of Philox, see lib/kernels/sample.ts
using Weight = unsigned long long;

template <class T> struct Arguments {
  const T* logits;
  const uint8_t *seen, *allowed;
  const int32_t* keys;
  size_t n;
  T scale, penalty;
  bool greedy;
  size_t top_k;  // n: all
  double top_p;
  int32_t* tokens;
  T *log_probs, *entropy;
  cuda::Refusal refusal;
};

/** What a block keeps in shared memory. */
template <class T> struct Shared {
  double sums[32];
  T scores[32];
  int32_t ids[32];
  Weight bins[256], above;
  unsigned digit;
};

template <class T> struct Best {
  T score;
  int32_t id;
  /** Of equals the lower id. */
  __device__ void offer(T other, int32_t other_id) {
    if (other > score || (other == score && other_id < id)) score = other, id = other_id;
  }
};

/** The best of all threads, in every thread; id INT32_MAX if no score was above that of nobody. */
template <class T> __device__ Best<T> best_of_block(Best<T> own, Shared<T>& shared) {
  const auto over_warp = [&] {
    for (int by = 16; by > 0; by /= 2) {
      const T score = __shfl_xor_sync(~0u, own.score, by);
      own.offer(score, __shfl_xor_sync(~0u, own.id, by));
    }
  };
  over_warp();
  if (threadIdx.x % 32 == 0) shared.scores[threadIdx.x / 32] = own.score, shared.ids[threadIdx.x / 32] = own.id;
  __syncthreads();
  own = {shared.scores[threadIdx.x % 32], shared.ids[threadIdx.x % 32]};
  over_warp();
  __syncthreads();
  return own;
}

/** Philox4x32-10 of the counter (rollout, token, block, 0) under the key (seed, step). */
struct Words {
  uint32_t word[4];
};
__device__ Words philox(const int32_t* key, uint32_t block) {
  uint32_t c[4] = {static_cast<uint32_t>(key[2]), static_cast<uint32_t>(key[3]), block, 0}, k0 = static_cast<uint32_t>(key[0]), k1 = static_cast<uint32_t>(key[1]);
  for (int round = 0; round < 10; round++) {
    const uint32_t high0 = __umulhi(c[0], 0xD2511F53u), low0 = c[0] * 0xD2511F53u, high1 = __umulhi(c[2], 0xCD9E8D57u), low1 = c[2] * 0xCD9E8D57u;
    c[0] = high1 ^ c[1] ^ k0, c[1] = low1, c[2] = high0 ^ c[3] ^ k1, c[3] = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

/** −log(1 − u), u = (bits + ½) / 2³¹, but never 1: f32 may round up to it. */
__device__ float clock_of(uint32_t bits, float) { return -log1pf(-fminf((static_cast<float>(bits) + 0.5f) * (1.0f / 2147483648), 1 - 1.0f / (1 << 24))); }
__device__ double clock_of(uint32_t bits, double) { return -log1p(-(static_cast<double>(bits) + 0.5) * (1.0 / 2147483648)); }

/** body(v, bits) for this thread's ids, four with each call of Philox; bits are 0 where they are not wanted. */
template <bool Random, class Body> __device__ void each_id(size_t n, const int32_t* key, Body&& body) {
  for (size_t call = threadIdx.x; call / 16 * kGroup < n; call += kBlock) {
    const Words random = Random ? philox(key, static_cast<uint32_t>(call)) : Words{};
    for (size_t w = 0; w < 4; w++) {
      const size_t v = call / 16 * kGroup + 16 * w + call % 16;
      if (v < n) body(v, random.word[w] >> 1);
    }
  }
}

/** A row's logits as sampling sees them: repetition penalty, banned ids, temperature. */
template <class T> struct Adjusted {
  const T* logits;
  const uint8_t *seen, *allowed;
  T scale, penalty;
  __device__ T operator()(size_t v) const {
    if (allowed && !allowed[v]) return T(-INFINITY);
    T z = logits[v];
    if (seen && seen[v]) z = z > 0 ? z / penalty : z * penalty;
    return z * scale + 0;  // −0 is 0
  }
};

/** Bits in the order of numbers. */
__device__ uint32_t ordered(float z) {
  const uint32_t bits = __float_as_uint(z);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ uint64_t ordered(double z) {
  const auto bits = static_cast<uint64_t>(__double_as_longlong(z));
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

template <class K> struct Bound {
  K key;
  Weight above;  // of all greater keys
};

/** The largest key such that all keys that are not below it weigh `wanted`, which is at least 1 and no more than all together. */
template <class K, class T, class Each> __device__ Bound<K> find_bound(Weight wanted, Shared<T>& shared, Each&& each) {
  constexpr int kBits = 8 * sizeof(K);
  K prefix = 0;
  Weight above = 0;
  for (int shift = kBits - 8; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < 256; i += kBlock) shared.bins[i] = 0;
    __syncthreads();
    each([&](K key, Weight weight) {
      if (weight && (shift == kBits - 8 || key >> (shift + 8) == prefix)) atomicAdd(shared.bins + (key >> shift & 255), weight);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = 255;
      for (; digit > 0 && above + shared.bins[digit] < wanted; digit--) above += shared.bins[digit];
      shared.digit = digit, shared.above = above;
    }
    __syncthreads();
    prefix = static_cast<K>(prefix << 8 | shared.digit), above = shared.above;
    __syncthreads();
  }
  return {prefix, above};
}

/** The token of a row after top-k and top-p, or INT32_MAX if there is none. */
template <class T> __device__ __attribute__((noinline)) int32_t sample_filtered(const Arguments<T>& a, const Adjusted<T>& adjusted, const int32_t* key, Shared<T>& shared) {
  using Key = decltype(ordered(T(0)));
  const auto each = [&](auto&& body) { each_id<false>(a.n, key, [&](size_t v, uint32_t) { body(v, adjusted(v)); }); };
  Best<T> largest{T(-INFINITY), INT32_MAX};
  each([&](size_t v, T z) { largest.offer(z, static_cast<int32_t>(v)); });
  largest = best_of_block(largest, shared);
  const T top = largest.score;
  if (a.greedy) return top > T(-INFINITY) ? largest.id : INT32_MAX;
  if (!(top - top == 0)) return INT32_MAX;
  Key lowest = 0;
  if (a.top_k < a.n) lowest = find_bound<Key>(a.top_k, shared, [&](auto&& add) { each([&](size_t, T z) { add(ordered(z), Weight{1}); }); }).key;
  int32_t last = INT32_MAX;  // of the ids whose key is the lowest
  if (a.top_p < 1) {
    int bits = 62;
    for (size_t n = a.n; n > 1; n = (n + 1) / 2) bits--;
    const double unit = static_cast<double>(Weight{1} << bits);
    const auto weight_of = [&](T z) { return ordered(z) < lowest ? Weight{0} : static_cast<Weight>(static_cast<double>(exp(z - top)) * unit + 0.5); };
    Weight own = 0;
    each([&](size_t, T z) { own += weight_of(z); });
    const Weight total = cuda::block_sum(own, shared.bins);
    const auto share = static_cast<Weight>(ceil(a.top_p * static_cast<double>(total)));
    const Weight wanted = share < 1 ? 1 : share < total ? share : total;
    const Bound<Key> bound = find_bound<Key>(wanted, shared, [&](auto&& add) { each([&](size_t, T z) { add(ordered(z), weight_of(z)); }); });
    lowest = bound.key;
    // of equals as many as are needed, the lower ids first
    Weight found[2] = {};  // how many there are, and what one weighs
    each([&](size_t, T z) {
      if (ordered(z) == lowest) found[0]++, found[1] = weight_of(z);
    });
    if (threadIdx.x == 0) shared.bins[0] = shared.bins[1] = 0;
    __syncthreads();
    if (found[0]) atomicAdd(shared.bins, found[0]), atomicMax(shared.bins + 1, found[1]);
    __syncthreads();
    const Weight equals = shared.bins[0], weight = shared.bins[1], needed = (wanted - bound.above + weight - 1) / weight;
    __syncthreads();
    if (needed < equals)
      last = static_cast<int32_t>(~find_bound<uint32_t>(needed, shared, [&](auto&& add) {
                                     each([&](size_t v, T z) { add(~static_cast<uint32_t>(v), Weight{ordered(z) == lowest}); });
                                   }).key);
  }
  Best<T> best{T(0), INT32_MAX};
  each_id<true>(a.n, key, [&](size_t v, uint32_t bits) {
    const T z = adjusted(v);
    if (ordered(z) > lowest || (ordered(z) == lowest && static_cast<int32_t>(v) <= last)) best.offer(exp(z - top) / clock_of(bits, T(0)), static_cast<int32_t>(v));
  });
  best = best_of_block(best, shared);
  return best.score > 0 ? best.id : INT32_MAX;
}

template <class T> __global__ void __launch_bounds__(kBlock) sample_rows(Arguments<T> a) {
  __shared__ Shared<T> shared;
  const size_t row = blockIdx.x;
  const T* logits = a.logits + row * a.n;
  const int32_t* key = a.keys + 4 * row;
  const auto none = [&](int32_t why) {
    if (threadIdx.x == 0) a.tokens[row] = why, a.refusal.at(row, why);
  };
  const bool plain = !a.greedy && !a.seen && a.top_k >= a.n && a.top_p >= 1;
  Best<T> largest{T(-INFINITY), INT32_MAX};
  for (size_t v = threadIdx.x; v < a.n; v += kBlock) largest.offer(logits[v], static_cast<int32_t>(v));
  const T m = best_of_block(largest, shared).score * a.scale;
  T weight = 0, product = 0;
  Best<T> best{T(0), INT32_MAX};
  const auto add = [&](size_t v) {
    const T x = logits[v] * a.scale - m, e = exp(x);
    weight += e;
    product = fma(e, x > T(-1e30f) ? x : T(-1e30f), product);  // 0 · −∞ is 0 here
    return e;
  };
  if (plain)
    each_id<true>(a.n, key, [&](size_t v, uint32_t bits) {
      const T score = add(v) / clock_of(bits, T(0));
      if (!a.allowed || a.allowed[v]) best.offer(score, static_cast<int32_t>(v));
    });
  else
    for (size_t v = threadIdx.x; v < a.n; v += kBlock) add(v);
  const double weights = cuda::block_sum(static_cast<double>(weight), shared.sums), products = cuda::block_sum(static_cast<double>(product), shared.sums);
  if (!(weights - weights == 0) || !(m - m == 0)) return none(a.n == 0 ? kNothingAllowed : kNotFinite);
  best = best_of_block(best, shared);
  int32_t token = best.score > 0 ? best.id : INT32_MAX;
  if (token == INT32_MAX) token = sample_filtered(a, Adjusted<T>{logits, a.seen ? a.seen + row * a.n : nullptr, a.allowed, a.scale, a.penalty}, key, shared);
  if (token == INT32_MAX) return none(kNothingAllowed);
  if (threadIdx.x != 0) return;
  const double log_sum = log(weights), entropy = log_sum - products / weights;
  a.tokens[row] = token;
  a.log_probs[row] = static_cast<T>(static_cast<double>(logits[token] * a.scale) - static_cast<double>(m) - log_sum);
  a.entropy[row] = static_cast<T>(entropy < 0 ? 0 : entropy);  // rounding alone makes it negative
}

}  // namespace

KERNEL_REAL(cuda, Sample) {
  if (!sampling_arguments_hold(stream, op)) return;
  const size_t rows = op.tokens.size, n = op.logits.dim[1];
  if (rows == 0) return;
  const bool greedy = op.temperature == 0, seen = op.seen && op.repetitionPenalty != 1;
  const Arguments<T> a{op.logits.data,
                       seen ? op.seen.data : nullptr,
                       op.allowed.data,
                       op.keys.data,
                       n,
                       greedy ? T(1) : static_cast<T>(1 / op.temperature),
                       static_cast<T>(op.repetitionPenalty),
                       greedy,
                       op.topK > 0 && static_cast<size_t>(op.topK) < n ? static_cast<size_t>(op.topK) : n,
                       op.topP,
                       op.tokens.data,
                       op.logProbs.data,
                       op.entropy.data,
                       cuda::refusal(stream, "NON_FINITE", [](size_t row, const auto& values) -> std::string { return RowMessage(Sample<T>::kName, row, values[0]).text; })};
  cuda::launch(stream, sample_rows<T>, static_cast<unsigned>(rows), kBlock, a);
}

}  // namespace g2rpo
