// A row is shared out to blocks, each of which folds its part of the logits and, if nothing but temperature and banned ids decides, runs the race in it:
// as on the CPU the id whose clock rings first is sampled. A second launch joins the parts of each row, in order, and filters where it must.
#include "filter.cuh"

namespace g2rpo {

namespace {

constexpr size_t kPart = 8192;       // ids of a part
constexpr unsigned kScanning = 256;  // threads that scan one

template <class T> struct Arguments {
  const T* logits;
  const uint8_t *seen, *allowed;
  const int32_t* keys;
  size_t n, parts;
  T scale, penalty;
  bool greedy, plain;  // plain: temperature alone, and ids that are banned
  size_t top_k;        // n: all
  double top_p;
  int32_t* tokens;
  T *log_probs, *entropy;
  cuda::Refusal refusal;

  __device__ Row<T> row(size_t i) const { return {{logits + i * n, seen ? seen + i * n : nullptr, allowed, scale, penalty}, keys + 4 * i, n, top_k, top_p}; }
};

/** What is found of a part of a row, and of all of it. */
template <class T> struct Found {
  T m;                     // the largest logit, scaled
  double weight, product;  // Σ e and Σ e·x of e = exp x, x = scaled logit − m
  Best<T> best;            // in the race, if it is plain; else by adjusted logit
};

/** Block i: part i % parts of row i / parts. */
template <class T> __global__ void __launch_bounds__(kScanning) scan_parts(Arguments<T> a, Found<T>* found) {
  __shared__ double sums[32];
  __shared__ Best<T> bests[32];
  const Row<T> row = a.row(blockIdx.x / a.parts);
  const T* const logits = row.adjusted.logits;
  const size_t begin = blockIdx.x % a.parts * kPart, end = begin + kPart < a.n ? begin + kPart : a.n;
  T m = -INFINITY;
#pragma unroll 8
  for (size_t v = begin + threadIdx.x; v < end; v += kScanning) m = logits[v] > m ? logits[v] : m;
  m = times(best_of_block(Best<T>{m, 0}, bests).score, a.scale);
  const bool none = m == T(-INFINITY);
  if (none) m = 0;  // what is −∞ weighs nothing, NaN shows
  T weight = 0, product = 0;
  const auto add = [&](size_t v) {
    const T x = times(logits[v], a.scale) - m, e = exp(x);
    weight += e;
    product = fma(e, x > T(-1e30f) ? x : T(-1e30f), product);  // 0 · −∞ is 0 here
    return e;
  };
  Best<T> best{a.plain ? T(0) : T(-INFINITY), kNobody};
  if (a.plain) {
    for (size_t call = begin / 4 + threadIdx.x; id_of(call, 0) < end; call += kScanning) {
      const Words random = philox(row.key, static_cast<uint32_t>(call));
#pragma unroll
      for (size_t w = 0; w < 4; w++) {
        const size_t v = id_of(call, w);
        if (v >= end) break;
        const T score = race(add(v), random.word[w] >> 1);
        if (!a.allowed || a.allowed[v]) best.offer(score, static_cast<int32_t>(v));
      }
    }
  } else {
#pragma unroll 4
    for (size_t v = begin + threadIdx.x; v < end; v += kScanning) add(v), best.offer(row.adjusted(v), static_cast<int32_t>(v));
  }
  const double weights = cuda::block_sum(static_cast<double>(weight), sums), products = cuda::block_sum(static_cast<double>(product), sums);
  best = best_of_block(best, bests);
  if (threadIdx.x == 0) found[blockIdx.x] = {none ? T(-INFINITY) : m, weights, products, best};
}

/** By a warp: the parts of a row as one. */
template <class T> __device__ Found<T> join(const Arguments<T>& a, const Found<T>* parts) {
  Found<T> all{T(-INFINITY), 0, 0, {a.plain ? T(0) : T(-INFINITY), kNobody}};
  for (size_t p = threadIdx.x; p < a.parts; p += 32) all.m = parts[p].m > all.m ? parts[p].m : all.m;
  all.m = cuda::warp_max(all.m);
  for (size_t p = threadIdx.x; p < a.parts; p += 32) {
    const Found<T> part = parts[p];
    if (part.weight == 0) continue;  // nothing but −∞
    const double shift = static_cast<double>(part.m) - static_cast<double>(all.m), f = exp(shift);
    all.weight += f * part.weight;
    all.product += f * (part.product + part.weight * shift);
    all.best.offer(a.plain ? part.best.score * static_cast<T>(f) : part.best.score, part.best.id);
  }
  all.weight = cuda::warp_sum(all.weight), all.product = cuda::warp_sum(all.product);
  all.best.over_warp();
  return all;
}

/** A block to a row: a warp is enough where nothing is to be filtered. */
template <class T> __global__ void __launch_bounds__(kBlock) choose(Arguments<T> a, const Found<T>* found) {
  __shared__ Shared<T> shared;
  __shared__ Found<T> joined;
  const size_t i = blockIdx.x;
  if (threadIdx.x < 32) {
    const Found<T> all = join(a, found + i * a.parts);
    if (threadIdx.x == 0) joined = all;
  }
  __syncthreads();
  const Found<T>& all = joined;
  const Row<T> row = a.row(i);
  const auto none = [&](int32_t why) {
    if (threadIdx.x == 0) a.tokens[i] = why, a.refusal.at(i, why);
  };
  if (!(all.weight - all.weight == 0) || !(all.m - all.m == 0)) return none(a.n == 0 ? kNothingAllowed : kNotFinite);
  int32_t token = kNobody;
  if (a.plain ? all.best.score > 0 : a.greedy && all.best.score > T(-INFINITY)) token = all.best.id;
  if (token == kNobody && !a.greedy) {
    Best<T> top = all.best;
    if (a.plain) {  // of the ids that are allowed none has a weight beside the others
      top = {T(-INFINITY), kNobody};
      each_logit(row, [&](unsigned v, T z) { top.offer(z, static_cast<int32_t>(v)); });
      top = best_of_block(top, shared.bests);
    }
    token = sample_filtered(row, top.score, shared, *reinterpret_cast<List<T>*>(cuda::dynamic_shared));
  }
  if (token == kNobody) return none(kNothingAllowed);
  if (threadIdx.x != 0) return;
  const double log_sum = log(all.weight), entropy = log_sum - all.product / all.weight;
  a.tokens[i] = token;
  a.log_probs[i] = static_cast<T>(static_cast<double>(times(row.adjusted.logits[token], a.scale)) - static_cast<double>(all.m) - log_sum);
  a.entropy[i] = static_cast<T>(entropy < 0 ? 0 : entropy);  // rounding alone makes it negative
}

}  // namespace

KERNEL_REAL(cuda, Sample) {
  if (!sampling_arguments_hold(stream, op)) return;
  const size_t rows = op.tokens.size, n = op.logits.dim[1], parts = (n + kPart - 1) / kPart;
  if (rows == 0) return;
  const bool greedy = op.temperature == 0, seen = op.seen && op.repetitionPenalty != 1;
  const bool filtered = (op.topK > 0 && static_cast<size_t>(op.topK) < n) || op.topP < 1;
  const Arguments<T> a{op.logits.data,
                       seen ? op.seen.data : nullptr,
                       op.allowed.data,
                       op.keys.data,
                       n,
                       parts,
                       greedy ? T(1) : scale_of<T>(op.temperature),
                       static_cast<T>(op.repetitionPenalty),
                       greedy,
                       !greedy && !seen && !filtered,
                       op.topK > 0 && static_cast<size_t>(op.topK) < n ? static_cast<size_t>(op.topK) : n,
                       op.topP,
                       op.tokens.data,
                       op.logProbs.data,
                       op.entropy.data,
                       cuda::refusal(stream, "NON_FINITE", [](size_t row, const auto& values) -> std::string { return RowMessage(Sample<T>::kName, row, values[0]).text; })};
  cuda::Temporary<Found<T>> found(stream, rows * parts);
  if (parts > 0) cuda::launch(stream, scan_parts<T>, static_cast<unsigned>(rows * parts), kScanning, a, found.get());
  const bool joins = greedy || (a.plain && !a.allowed);  // the largest logit has a weight
  cuda::launch_shared(stream, choose<T>, static_cast<unsigned>(rows), joins ? 32u : kBlock, filtered && !greedy ? sizeof(List<T>) : 0, a, found.get());
}

}  // namespace g2rpo
