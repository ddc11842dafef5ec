// Logits are there for some tokens and some rows of the vocabulary at a time, [tokens][slice], and go through the second-level cache: a product
// makes them, a block to a token folds them into what is known of that token, and for the gradients another turns them into their slopes.
// Above kSlice rows they are computed twice.
#include <algorithm>

#include "../../backends/cuda/bf16_gemm.h"
#include "../../backends/cuda/indices.h"
#include "../policy_loss/arguments.h"
#include "../policy_loss/token_loss.cuh"
#include "arguments.h"

namespace g2rpo {

namespace {

constexpr size_t kChunk = 2048;  // tokens at a time
constexpr size_t kSlice = 8192;  // rows of the vocabulary at a time
constexpr unsigned kHeld = kSlice / cuda::kThreads;  // logits of a slice that a thread keeps, so that they are read once
constexpr unsigned kEach = 8;    // slopes to a thread
constexpr double kCoarse = 256;  // from here on f32 rounds a normaliser by more than 1e-5

/** Of each token of a chunk, over the slices folded so far: see Statistics in cpu.cpp. */
template <class T> struct Known {
  double *sum, *product;
  T *largest, *target;
  T *shift, *log_sum;  // what turns logits into log-probabilities: log p = (z − shift) / temperature − log_sum
};

/** A block to a token: folds the logits of rows [row, row + rows) of the vocabulary. */
template <class T>
__global__ void fold(const T* logits, size_t first, size_t row, size_t rows, T scale, const int32_t* targets, Known<T> known, cuda::IndexRange range) {
  __shared__ T partial[32];
  __shared__ double wide[32];
  const T* z = logits + blockIdx.x * rows;
  T held[kHeld], largest = -INFINITY;
  bool nan = false;
#pragma unroll
  for (unsigned j = 0; j < kHeld; j++) {
    const size_t i = threadIdx.x + j * blockDim.x;
    held[j] = i < rows ? z[i] : T(-INFINITY);
  }
#pragma unroll
  for (unsigned j = 0; j < kHeld; j++) {
    nan |= held[j] != held[j];
    largest = held[j] > largest ? held[j] : largest;
  }
  largest = cuda::warp_max(largest);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = largest;
  __syncthreads();
  largest = partial[0];
  for (unsigned w = 1; w < blockDim.x / 32; w++) largest = partial[w] > largest ? partial[w] : largest;
  T s = 0, u = 0;
#pragma unroll
  for (unsigned j = 0; j < kHeld; j++) {
    if (threadIdx.x + j * blockDim.x >= rows) break;
    const T x = (held[j] - largest) * scale, e = exp(x);
    s += e;
    u = fma(e, x, u);
  }
  const double sum = cuda::block_sum(nan ? double(NAN) : static_cast<double>(s), wide);
  const double product = cuda::block_sum(static_cast<double>(u), wide);
  if (threadIdx.x > 0) return;
  const size_t t = blockIdx.x, y = static_cast<size_t>(targets[t]);
  if (range.holds(first + t, targets[t]) && y >= row && y - row < rows) known.target[t] = z[y - row];
  if (row == 0) {
    known.largest[t] = largest, known.sum[t] = sum, known.product[t] = product;
    return;
  }
  const double shift = (static_cast<double>(largest) - static_cast<double>(known.largest[t])) * static_cast<double>(scale);
  const double before = known.sum[t];
  if (shift > 0) {
    const double f = exp(-shift);
    known.product[t] = f * (known.product[t] - before * shift) + product;
    known.sum[t] = f * before + sum;
    known.largest[t] = largest;
  } else {
    const double f = exp(shift);
    known.product[t] += f * (product + sum * shift);
    known.sum[t] = before + f * sum;
  }
}

template <class T> __global__ void finish(size_t first, size_t tokens, T scale, Known<T> known, T* log_probs, T* entropy, T* log_sum_exp, cuda::Refusal finite) {
  const size_t t = cuda::global_index();
  if (t >= tokens) return;
  const double log_sum = log(known.sum[t]), h = log_sum - known.product[t] / known.sum[t], wide = static_cast<double>(scale);
  const T total = static_cast<T>(static_cast<double>(known.largest[t]) * wide + log_sum);
  log_probs[t] = static_cast<T>((static_cast<double>(known.target[t]) - static_cast<double>(known.largest[t])) * wide - log_sum);
  entropy[t] = h < 0 ? T(0) : static_cast<T>(h);  // rounding alone makes it negative; NaN stays
  if (log_sum_exp) log_sum_exp[t] = total;
  const bool coarse = fabs(static_cast<double>(total)) > kCoarse;
  known.shift[t] = coarse ? known.largest[t] : T(0);
  known.log_sum[t] = coarse ? static_cast<T>(log_sum) : total;
  const T both = log_probs[t] + entropy[t];
  if (!(both - both == 0)) finite.at(first + t, 0);
}

template <class T> __global__ void loss_slopes(size_t first, cuda::TokenLosses<T> a, const T* more, cuda::Refusal finite) {
  const size_t i = cuda::global_index();
  if (i >= a.n) return;
  cuda::write_loss(a, i);
  a.slope[i] += more[i];
  if (!(a.loss[i] - a.loss[i] == 0)) finite.at(first + i, 1);
  else if (!(a.slope[i] - a.slope[i] == 0)) finite.at(first + i, 2);
}

__device__ void write_slope(float* at, float x) { *at = x; }
__device__ void write_slope(double* at, double x) { *at = x; }
__device__ void write_slope(bf16* at, float x) { at->bits = static_cast<uint16_t>(cuda::pack_bf16(x, 0)); }

/** dz of logits of [tokens][rows], in their place or elsewhere; zeros where anything has been refused, so that nothing wrong is added to a gradient. */
template <class T, class W>
__global__ void slopes(const T* logits, W* d_logits, size_t row, size_t rows, T scale, const int32_t* targets, Known<T> known, const T* d_log_probs, const T* d_entropy, const T* entropies,
                       const unsigned long long* refused) {
  const size_t begin = blockIdx.x * blockDim.x * kEach + threadIdx.x, t = blockIdx.y;
  T z[kEach];
#pragma unroll
  for (unsigned j = 0; j < kEach; j++) {
    const size_t i = begin + j * blockDim.x;
    z[j] = i < rows ? logits[t * rows + i] : T(0);
  }
  const T shift = known.shift[t], log_sum = known.log_sum[t], of_log_prob = d_log_probs[t], of_entropy = d_entropy[t], entropy = entropies[t];
  const size_t target = static_cast<size_t>(targets[t]) - row;
  const bool holds = *refused == ~0ull;
#pragma unroll
  for (unsigned j = 0; j < kEach; j++) {
    const size_t i = begin + j * blockDim.x;
    if (i >= rows) break;
    const T log_p = fma(z[j] - shift, scale, -log_sum);
    T dz = -scale * exp(log_p) * fma(of_entropy, log_p + entropy, of_log_prob);
    if (i == target) dz += of_log_prob * scale;
    write_slope(d_logits + t * rows + i, holds ? dz : T(0));
  }
}

/**
 * The hidden states, the weight and the targets of a head, and its memory for a chunk of tokens. Where the weight is bf16, so is what it is multiplied
 * with: a chunk's hidden states are rounded once, the slopes when they are written.
 */
template <class T, class W> struct Problem {
  static constexpr bool kNarrow = !std::is_same_v<T, W>;
  using Product = cuda::ProductOf<W, W>;
  Stream& stream;
  const T* hidden;
  const W* weight;
  const int32_t* targets;
  size_t tokens, width, vocabulary, chunk, slice;
  T scale;
  cuda::Temporary<T> logits, reals;
  cuda::Temporary<double> wide;
  cuda::Temporary<W> narrow_hidden, narrow_slopes;

  template <class Op>
  Problem(Stream& stream, const Op& op)
      : stream(stream), hidden(op.hidden.data), weight(op.weight.data), targets(op.targets.data), tokens(op.targets.size), width(op.hidden.dim[1]),
        vocabulary(op.weight.dim[0]), chunk(std::min(kChunk, tokens)), slice(std::min(kSlice, vocabulary)), scale(static_cast<T>(1 / op.temperature)),
        logits(stream, chunk * slice), reals(stream, 4 * chunk), wide(stream, 2 * chunk), narrow_hidden(stream, kNarrow ? chunk * width : 0),
        narrow_slopes(stream, kNarrow && !std::is_same_v<Op, Head<T, W>> ? chunk * slice : 0) {}

  bool whole() const { return slice == vocabulary; }
  Known<T> known() const {
    T* r = reals.get();
    return {wide.get(), wide.get() + chunk, r, r + chunk, r + 2 * chunk, r + 3 * chunk};
  }
  size_t rows(size_t row) const { return std::min(slice, vocabulary - row); }

  /** The hidden states of tokens from `first` on, as they are multiplied: of those last rounded. */
  const W* states(size_t first) const {
    if constexpr (kNarrow) return narrow_hidden.get();
    else return hidden + first * width;
  }
  W* slopes_of_chunk() const {
    if constexpr (kNarrow) return narrow_slopes.get();
    else return logits.get();
  }

  void product(size_t first, size_t count, size_t row) const {
    cuda::multiply(stream, Product{.m = count, .n = rows(row), .k = width, .a = states(first), .b = weight + row * width, .a_along = true, .b_along = true,
                                   .c = logits.get()});
  }

  /** Log-probabilities and entropies of tokens [first, first + count). */
  void measure(size_t first, size_t count, T* log_probs, T* entropy, T* log_sum_exp, cuda::IndexRange range, cuda::Refusal finite) const {
    if constexpr (kNarrow) cuda::round_elements(stream, hidden + first * width, count * width, narrow_hidden.get());
    for (size_t row = 0; row < vocabulary; row += slice) {
      product(first, count, row);
      cuda::launch(stream, fold<T>, static_cast<unsigned>(count), cuda::threads_for(rows(row)), logits.get(), first, row, rows(row), scale, targets + first, known(), range);
    }
    cuda::launch(stream, finish<T>, cuda::blocks_for(count), cuda::kThreads, first, count, scale, known(), log_probs, entropy, log_sum_exp, finite);
  }

  /** Gradients of the same tokens, which have just been measured; the lists begin at the first. */
  void backward(size_t first, size_t count, const T* d_log_probs, const T* d_entropy, const T* entropies, T* d_hidden, T* d_weight) const {
    const W* dz = slopes_of_chunk();
    for (size_t row = 0; row < vocabulary; row += slice) {
      if (!whole()) product(first, count, row);
      const size_t n = rows(row);
      cuda::launch(stream, slopes<T, W>, dim3(cuda::blocks_for(n, kEach * cuda::kThreads), static_cast<unsigned>(count)), cuda::kThreads, logits.get(), slopes_of_chunk(), row, n, scale,
                   targets + first, known(), d_log_probs, d_entropy, entropies, stream.queue->refused);
      cuda::multiply(stream, Product{.m = count, .n = width, .k = n, .a = dz, .b = weight + row * width, .a_along = true, .b_along = false,
                                     .c = d_hidden + first * width, .accumulate = row > 0});
      if (d_weight)
        cuda::multiply(stream, Product{.m = n, .n = width, .k = count, .a = dz, .b = states(first), .a_along = false, .b_along = false,
                                       .c = d_weight + row * width, .accumulate = true});
    }
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
  const Problem<T, W> p(stream, op);
  for (size_t first = 0; first < p.tokens; first += p.chunk)
    p.measure(first, std::min(p.chunk, p.tokens - first), op.logProbs.data + first, op.entropy.data + first, op.logSumExp.data + first, range, finite);
}

KERNEL_WEIGHT(cuda, HeadBackward) {
  if (!temperature_holds(stream, op) || op.targets.size == 0) return;
  const auto range = cuda::index_range(stream, op.kName, "targets", op.weight.dim[0]);
  const auto finite = finite_tokens(stream, op.kName);
  const Problem<T, W> p(stream, op);
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
  const Problem<T, W> p(stream, op);
  cuda::Temporary<T> d_log_probs(stream, p.tokens);
  for (size_t first = 0; first < p.tokens; first += p.chunk) {
    const size_t count = std::min(p.chunk, p.tokens - first);
    p.measure(first, count, op.logProbs.data + first, op.entropy.data + first, nullptr, range, finite);
    auto losses = cuda::token_losses<T>(op, count, op.logProbs.data, d_log_probs.get());
    losses.from(first);
    cuda::launch(stream, loss_slopes<T>, cuda::blocks_for(count), cuda::kThreads, first, losses, op.logProbSlopes.data + first, finite);
    p.backward(first, count, d_log_probs.get() + first, op.entropySlopes.data + first, op.entropy.data + first, op.dHidden.data, op.dWeight.data);
  }
}

}  // namespace g2rpo
