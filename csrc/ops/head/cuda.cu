// Logits are there for a chunk of tokens and a slice of the vocabulary at a time, [tokens][slice]: a product makes them and a block to a token folds
// them into what is known of that token. For gradients it leaves their weights eᶻ⁻ᵐ, m the largest of the slice, which are held for all of the
// vocabulary, [tokens][vocabulary], until sums are known: then they become slopes in their place, and what is left are two large products.
#include <algorithm>

#include "../../backends/cuda/bf16_gemm.h"
#include "../../backends/cuda/indices.h"
#include "../policy_loss/arguments.h"
#include "../policy_loss/token_loss.cuh"
#include "arguments.h"

namespace g2rpo {

namespace {

// Products want to be large, and launches few: what smaller slices save, since the second-level cache holds them, pays for no more launches.
constexpr size_t kChunk = 8192;              // tokens at a time, at most
constexpr size_t kSlice = 8192;              // rows of the vocabulary at a time
constexpr size_t kHeld = size_t{640} << 20;  // bytes of weights that are held, where kSide tokens do not take more
constexpr size_t kSide = 128;                // tokens of a chunk are made of so many, since products are
constexpr unsigned kFolding = 512;           // threads that fold the logits of a token
constexpr int kEach = kSlice / kFolding;     // logits that one of them keeps, so that they are read once
constexpr unsigned kUnderWay = 4;            // packs of weights to a thread
constexpr unsigned kJoining = 64;            // tokens of a block that joins slices: every multiprocessor has some

/** How the weight of a logit, in [0, 1], is held. */
template <class T, class H> struct Weights {
  static __device__ H held(T weight) { return weight; }
  static __device__ T of(H held) { return held; }
  static __device__ T log_of(T weight) { return log(weight); }
};
/** In 16 bits without those that are 0 in f32: seven of the exponent and nine behind the point, two more than bf16 has. */
template <> struct Weights<float, bf16> {
  static __device__ bf16 held(float weight) { return {static_cast<uint16_t>((__float_as_uint(weight) + (1u << 13)) >> 14)}; }
  static __device__ float of(bf16 held) { return __uint_as_float(static_cast<uint32_t>(held.bits) << 14); }
  static __device__ float log_of(float weight) { return __logf(weight); }
};

/** Of each token of a chunk. Lists of slices are [slices][chunk]. */
template <class T> struct Known {
  double *sum, *product;  // of slices: Σ eˣ and Σ eˣ·x of x = (z − largest) / temperature
  T* largest;             // of slices; from `finish` on what turns the weights of a slice into probabilities: log p = log weight + this
  T* target;              // the logit of the target
};

/** A block to a token: folds the logits of rows [row, row + rows) of the vocabulary. `known` is that of this slice; H is void, or how weights are held. */
template <int W, class T, class H>
__global__ void __launch_bounds__(kFolding)
    fold(const T* logits, size_t row, size_t rows, T scale, const int32_t* targets, Known<T> known, H* held, size_t vocabulary) {
  constexpr int kPacks = kEach / W;
  constexpr double kLn2 = 0.693147180559945309;
  __shared__ T partial[32];
  __shared__ double wide[32];
  const size_t t = blockIdx.x;
  const T* const z = logits + t * rows;
  const auto each = [&](auto&& body) {
#pragma unroll
    for (int p = 0; p < kPacks; p++) {
      const size_t i = (static_cast<size_t>(p) * blockDim.x + threadIdx.x) * W;
      if (i < rows) body(p, i);
    }
  };
  cuda::Pack<T, W> own[kPacks];
  each([&](int p, size_t i) { own[p] = cuda::load<W>(z + i); });
  T largest = -INFINITY;
  each([&](int p, size_t) {
    for (int w = 0; w < W; w++) largest = own[p].x[w] > largest ? own[p].x[w] : largest;
  });
  largest = cuda::warp_max(largest);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = largest;
  __syncthreads();
  largest = cuda::warp_max(threadIdx.x % 32 < blockDim.x / 32 ? partial[threadIdx.x % 32] : T(-INFINITY));
  const T octaves = scale * static_cast<T>(1 / kLn2);
  T s = 0, u = 0;
  each([&](int p, size_t i) {
    cuda::Pack<T, W> weights;
    for (int w = 0; w < W; w++) {
      const T x = (own[p].x[w] - largest) * octaves, e = exp2(x);
      s += e;
      u = fma(e, x, u);
      weights.x[w] = e;
    }
    if constexpr (!std::is_void_v<H>) {
      cuda::Pack<H, W> to;
      for (int w = 0; w < W; w++) to.x[w] = Weights<T, H>::held(weights.x[w]);
      cuda::store<W>(held + t * vocabulary + row + i, to);
    }
  });
  const double sum = cuda::block_sum(static_cast<double>(s), wide), product = cuda::block_sum(static_cast<double>(u), wide);
  if (threadIdx.x > 0) return;
  const size_t y = static_cast<size_t>(targets[t]);
  if (y >= row && y - row < rows) known.target[t] = z[y - row];
  known.sum[t] = sum, known.product[t] = product * kLn2, known.largest[t] = largest;
}

/** Joins the slices of each token, as Statistics in block.h does. */
template <class T>
__global__ void finish(size_t first, size_t tokens, size_t slices, size_t chunk, T scale, const int32_t* targets, Known<T> known, T* log_probs, T* entropy,
                       T* log_sum_exp, cuda::IndexRange range, cuda::Refusal finite) {
  const size_t t = cuda::global_index();
  if (t >= tokens || !range.holds(first + t, targets[t])) return;
  const double wide = static_cast<double>(scale);
  T largest = known.largest[t];
  for (size_t s = 1; s < slices; s++) largest = known.largest[s * chunk + t] > largest ? known.largest[s * chunk + t] : largest;
  const auto below = [&](T x) { return (static_cast<double>(x) - static_cast<double>(largest)) * wide; };
  double sum = 0, product = 0;
  for (size_t s = 0; s < slices; s++) {
    const size_t at = s * chunk + t;
    const double shift = below(known.largest[at]), f = exp(shift);
    product += f * (known.product[at] + known.sum[at] * shift);
    sum += f * known.sum[at];
  }
  const double log_sum = log(sum), h = log_sum - product / sum;
  log_probs[t] = static_cast<T>(below(known.target[t]) - log_sum);
  entropy[t] = h < 0 ? T(0) : static_cast<T>(h);  // rounding alone makes it negative; NaN stays
  if (log_sum_exp) log_sum_exp[t] = static_cast<T>(static_cast<double>(largest) * wide + log_sum);
  for (size_t s = 0; s < slices; s++) known.largest[s * chunk + t] = static_cast<T>(below(known.largest[s * chunk + t]) - log_sum);
  const T both = log_probs[t] + entropy[t];
  if (!(both - both == 0)) finite.at(first + t, 0);
}

template <class T> __global__ void loss_slopes(size_t first, cuda::TokenLosses<T> a, const T* more, const T* of_entropy, cuda::Refusal finite) {
  const size_t i = cuda::global_index();
  if (i >= a.n) return;
  cuda::write_loss(a, i);
  a.slope[i] += more[i];
  if (!(a.loss[i] - a.loss[i] == 0)) finite.at(first + i, 1);
  else if (!(a.slope[i] - a.slope[i] == 0) || !(of_entropy[i] - of_entropy[i] == 0)) finite.at(first + i, 2);
}

__device__ void round_pack(const float (&from)[8], cuda::Pack<bf16, 8>& to) {
  uint32_t pairs[4];
  for (int i = 0; i < 4; i++) pairs[i] = cuda::pack_bf16(from[2 * i], from[2 * i + 1]);
  *reinterpret_cast<uint4*>(&to) = {pairs[0], pairs[1], pairs[2], pairs[3]};
}
__device__ void round_pack(const float (&from)[1], cuda::Pack<bf16, 1>& to) { to.x[0].bits = static_cast<uint16_t>(cuda::pack_bf16(from[0], 0)); }
template <class T, int W> __device__ void round_pack(const T (&from)[W], cuda::Pack<T, W>& to) {
  for (int w = 0; w < W; w++) to.x[w] = from[w];
}

/** Weights of a chunk become slopes in their place, zeros where anything has been refused, so that nothing wrong is added to a gradient. */
template <int W, class T, class H>
__global__ void slopes(H* held, size_t vocabulary, size_t chunk, T scale, const int32_t* targets, Known<T> known, const T* d_log_probs, const T* d_entropy,
                       const T* entropies, const unsigned long long* refused) {
  static_assert(kSlice % (kUnderWay * cuda::kThreads * W) == 0);  // no block sees two slices
  const size_t begin = static_cast<size_t>(blockIdx.x) * (kUnderWay * cuda::kThreads * W), t = blockIdx.y;
  H* const row = held + t * vocabulary;
  cuda::Pack<H, W> own[kUnderWay];
#pragma unroll
  for (unsigned p = 0; p < kUnderWay; p++) {
    const size_t i = begin + (p * cuda::kThreads + threadIdx.x) * W;
    if (i < vocabulary) own[p] = cuda::load<W>(row + i);
  }
  const T of_log_prob = d_log_probs[t], of_entropy = d_entropy[t], entropy = entropies[t];
  const T log_factor = known.largest[begin / kSlice * chunk + t], factor = exp(log_factor);
  const size_t target = static_cast<size_t>(targets[t]);
  const bool holds = *refused == ~0ull;
#pragma unroll
  for (unsigned p = 0; p < kUnderWay; p++) {
    const size_t i = begin + (p * cuda::kThreads + threadIdx.x) * W;
    if (i >= vocabulary) break;
    T dz[W];
#pragma unroll
    for (int w = 0; w < W; w++) {
      const T weight = Weights<T, H>::of(own[p].x[w]);
      T slope = of_log_prob;
      if (of_entropy != 0 && weight > T(1e-37)) slope = fma(of_entropy, Weights<T, H>::log_of(weight) + log_factor + entropy, slope);
      dz[w] = -scale * (weight * factor) * slope;
      if (i + static_cast<size_t>(w) == target) dz[w] += of_log_prob * scale;
      if (!holds) dz[w] = 0;
    }
    round_pack(dz, own[p]);
    cuda::store<W>(row + i, own[p]);
  }
}

/** Tokens of a chunk, so that chunks are few and alike. `most` is made of kSide. */
size_t chunk_of(size_t tokens, size_t most) {
  const size_t chunks = (tokens + most - 1) / most, share = (tokens + chunks - 1) / chunks;
  return std::min(tokens, (share + kSide - 1) / kSide * kSide);
}

/**
 * The hidden states, the weight and the targets of a head, and its memory for a chunk of tokens. Where the weight is bf16, so is what it is multiplied
 * with: a chunk's hidden states are rounded once, the slopes when they are written.
 */
template <class T, class W, bool Backward> struct Problem {
  static constexpr bool kNarrow = !std::is_same_v<T, W>;
  using Product = cuda::ProductOf<W, W>;
  using Holding = std::conditional_t<Backward, W, void>;
  Stream& stream;
  const T* hidden;
  const W* weight;
  const int32_t* targets;
  size_t tokens, width, vocabulary, chunk, slices;
  T scale;
  cuda::Temporary<T> logits, reals;
  cuda::Temporary<double> wide;
  cuda::Temporary<W> narrow_hidden, held;

  template <class Op>
  Problem(Stream& stream, const Op& op)
      : stream(stream), hidden(op.hidden.data), weight(op.weight.data), targets(op.targets.data), tokens(op.targets.size), width(op.hidden.dim[1]),
        vocabulary(op.weight.dim[0]), chunk(chunk_of(tokens, most(vocabulary))), slices((vocabulary + kSlice - 1) / kSlice),
        scale(static_cast<T>(1 / op.temperature)), logits(stream, chunk * std::min(kSlice, vocabulary)), reals(stream, (slices + 1) * chunk),
        wide(stream, 2 * slices * chunk), narrow_hidden(stream, kNarrow ? chunk * width : 0), held(stream, Backward ? chunk * vocabulary : 0) {}

  static size_t most(size_t vocabulary) {
    if (!Backward) return kChunk;
    return std::clamp(kHeld / (std::max<size_t>(vocabulary, 1) * sizeof(W)) / kSide * kSide, kSide, kChunk);
  }
  /** From a slice on. */
  Known<T> known(size_t slice = 0) const {
    const size_t at = slice * chunk;
    return {wide.get() + at, wide.get() + slices * chunk + at, reals.get() + chunk + at, reals.get()};
  }

  /** The hidden states of tokens from `first` on, as they are multiplied: of those last rounded. */
  const W* states(size_t first) const {
    if constexpr (kNarrow) return narrow_hidden.get();
    else return hidden + first * width;
  }

  /** Log-probabilities and entropies of tokens [first, first + count); their weights are held, if they are wanted. */
  void measure(size_t first, size_t count, T* log_probs, T* entropy, T* log_sum_exp, cuda::IndexRange range, cuda::Refusal finite) const {
    if constexpr (kNarrow) cuda::round_elements(stream, hidden + first * width, count * width, narrow_hidden.get());
    for (size_t slice = 0; slice < slices; slice++) {
      const size_t row = slice * kSlice, rows = std::min(kSlice, vocabulary - row);
      cuda::multiply(stream, Product{.m = count, .n = rows, .k = width, .a = states(first), .b = weight + row * width, .a_along = true, .b_along = true,
                                     .c = logits.get()});
      cuda::with_pack<T>(vocabulary, cuda::aligned(logits.get(), held.get()), [&]<int P>(std::integral_constant<int, P>) {
        const auto threads = static_cast<unsigned>(std::min<size_t>(kFolding, (rows + 32 * P - 1) / (32 * P) * 32));
        cuda::launch(stream, fold<P, T, Holding>, static_cast<unsigned>(count), threads, logits.get(), row, rows, scale, targets + first, known(slice),
                     held.get(), vocabulary);
      });
    }
    cuda::launch(stream, finish<T>, cuda::blocks_for(count, kJoining), kJoining, first, count, slices, chunk, scale, targets + first, known(), log_probs,
                 entropy, log_sum_exp, range, finite);
  }

  /** Gradients of the same tokens, which have just been measured; the lists begin at the first. */
  void backward(size_t first, size_t count, const T* d_log_probs, const T* d_entropy, const T* entropies, T* d_hidden, T* d_weight) const {
    if (vocabulary == 0) return;  // no target is among its ids, which has been refused
    cuda::with_pack<W>(vocabulary, cuda::aligned(held.get()), [&]<int P>(std::integral_constant<int, P>) {
      const dim3 grid(cuda::blocks_for(vocabulary, kUnderWay * cuda::kThreads * P), static_cast<unsigned>(count));
      cuda::launch(stream, slopes<P, T, W>, grid, cuda::kThreads, held.get(), vocabulary, chunk, scale, targets + first, known(), d_log_probs, d_entropy,
                   entropies, stream.queue->refused);
    });
    cuda::multiply(stream, Product{.m = count, .n = width, .k = vocabulary, .a = held.get(), .b = weight, .a_along = true, .b_along = false,
                                   .c = d_hidden + first * width});
    if (d_weight)
      cuda::multiply(stream, Product{.m = vocabulary, .n = width, .k = count, .a = held.get(), .b = states(first), .a_along = false, .b_along = false,
                                     .c = d_weight, .accumulate = true});
  }
};

/** What is said of a token: `what` is 0 for its logits, 1 for its loss, 2 for the slope of that. */
cuda::Refusal finite_tokens(Stream& stream, const char* kernel) {
  return cuda::refusal(stream, "NON_FINITE", [=](size_t token, const auto& what) -> std::string {
    return FiniteMessage(kernel, what[0] == 1 ? "the loss" : what[0] == 2 ? "the slope" : "a logit", token).text;
  });
}

}  // namespace

KERNEL_WEIGHT(cuda, Head) {
  if (!temperature_holds(stream, op) || op.targets.size == 0) return;
  const auto range = cuda::index_range(stream, op.kName, "targets", op.weight.dim[0]);
  const auto finite = finite_tokens(stream, op.kName);
  const Problem<T, W, false> p(stream, op);
  for (size_t first = 0; first < p.tokens; first += p.chunk)
    p.measure(first, std::min(p.chunk, p.tokens - first), op.logProbs.data + first, op.entropy.data + first, op.logSumExp.data + first, range, finite);
}

KERNEL_WEIGHT(cuda, HeadBackward) {
  if (!temperature_holds(stream, op) || op.targets.size == 0) return;
  const auto range = cuda::index_range(stream, op.kName, "targets", op.weight.dim[0]);
  const auto finite = finite_tokens(stream, op.kName);
  const Problem<T, W, true> p(stream, op);
  cuda::Temporary<T> again(stream, 2 * p.chunk);
  for (size_t first = 0; first < p.tokens; first += p.chunk) {
    const size_t count = std::min(p.chunk, p.tokens - first);
    // logSumExp is coarse where it is large: what the forward found is found anew
    p.measure(first, count, again.get(), again.get() + p.chunk, nullptr, range, finite);
    p.backward(first, count, op.dLogProbs.data + first, op.dEntropy.data + first, op.entropy.data + first, op.dHidden.data, op.dWeight.data);
  }
}

KERNEL_WEIGHT(cuda, HeadPolicyLoss) {
  if (!temperature_holds(stream, op) || !loss_arguments_hold(stream, op) || op.targets.size == 0) return;
  const auto range = cuda::index_range(stream, op.kName, "targets", op.weight.dim[0]);
  const auto finite = finite_tokens(stream, op.kName);
  const Problem<T, W, true> p(stream, op);
  cuda::Temporary<T> d_log_probs(stream, p.tokens);
  for (size_t first = 0; first < p.tokens; first += p.chunk) {
    const size_t count = std::min(p.chunk, p.tokens - first);
    p.measure(first, count, op.logProbs.data + first, op.entropy.data + first, nullptr, range, finite);
    auto losses = cuda::token_losses<T>(op, count, op.logProbs.data, d_log_probs.get());
    losses.from(first);
    cuda::launch(stream, loss_slopes<T>, cuda::blocks_for(count), cuda::kThreads, first, losses, op.logProbSlopes.data + first, op.entropySlopes.data + first, finite);
    p.backward(first, count, d_log_probs.get() + first, op.entropySlopes.data + first, op.entropy.data + first, op.dHidden.data, op.dWeight.data);
  }
}

}  // namespace g2rpo
