// hot
// Logits exist one tile at a time and transposed, [vocabulary rows][64 tokens]: tokens run along the lanes, so that maxima
// and sums over the vocabulary need no reduction across lanes, and no product needs a transposed copy of the weight.
#include "../../backends/cpu/rows.h"
#include "../policy_loss/token_loss.h"
#include "arguments.h"
#include "block.h"

namespace g2rpo {

namespace {

constexpr size_t kFold = 1024;       // vocabulary rows folded at once into the statistics
constexpr size_t kDepth = 256;       // rows of a packed panel of the weight
constexpr size_t kWeightRows = 96;   // rows of dWeight per item of the pool
constexpr size_t kHeld = 1 << 21;    // logits of a chunk that are held at once: 8 MB in f32
constexpr size_t kWhole = 1 << 14;   // up to this vocabulary a chunk's logits are computed once
constexpr size_t kSlice = 2048;      // above it they are recomputed, in slices of so many rows
constexpr size_t kChunk = 1024;      // most tokens of a chunk

/** Reports what is wrong with the arguments; false if there was something. */
template <class Op, class T, class W> bool arguments_hold(Stream& stream, const Op& op, const Problem<T, W>& p) {
  return temperature_holds(stream, op) && simd::rows_in_range(stream, Op::kName, "targets", {p.targets, p.tokens}, p.vocabulary);
}

template <class T> bool all_finite(Stream& stream, const char* name, const char* what, const T* x, size_t begin, size_t end) {
  for (size_t i = begin; i < end; i++) {
    if (x[i] - x[i] == 0) continue;
    fail(stream, "NON_FINITE", FiniteMessage(name, what, i).text);
    return false;
  }
  return true;
}

/** dHidden of a block = or += dzᵀ times the weight's rows. */
template <class T, class W>
void add_hidden(const Problem<T, W>& p, const Block<T>& block, const T* dz, size_t row, size_t rows, bool accumulate, T* d_hidden) {
  constexpr size_t columns = simd::kPanel<T>;
  Scratch scratch;
  T* panel = scratch.take<T>(kDepth * columns);
  for (size_t v = 0; v < rows; v += kDepth)
    for (size_t h = 0; h < p.width; h += columns) {
      const size_t depth = least(kDepth, rows - v), n = least(columns, p.width - h);
      simd::pack_panel<T>(p.weight + (row + v) * p.width + h, p.width, depth, n, panel);
      simd::tiles<T>(block.tokens, dz + v * kBlock, 1, kBlock, panel, depth, d_hidden + block.first * p.width + h, p.width, n,
                     accumulate || v > 0);
    }
}

/** dWeight, if it is wanted, += dz times the hidden states, over the blocks of a chunk in order, in parallel over the weight's rows. */
template <class T, class W>
void add_weight(Stream& stream, const Problem<T, W>& p, size_t first, size_t end, const T* dz, size_t row, size_t rows, T* d_weight) {
  if (!d_weight) return;
  constexpr size_t columns = simd::kPanel<T>;
  parallel_for(stream, blocks_of(rows, kWeightRows), [&](size_t item) {
    Scratch scratch;
    T* panel = scratch.take<T>(kBlock * columns);
    const size_t v = item * kWeightRows, count = least(kWeightRows, rows - v);
    const T* at = dz + v * kBlock;
    for (size_t token = first; token < end; token += kBlock, at += rows * kBlock)
      for (size_t h = 0; h < p.width; h += columns) {
        const size_t depth = least(kBlock, end - token), n = least(columns, p.width - h);
        simd::pack_panel<T>(p.hidden + token * p.width + h, p.width, depth, n, panel);
        simd::tiles<T>(count, at, kBlock, 1, panel, depth, d_weight + (row + v) * p.width + h, p.width, n, true);
      }
  });
}

/** How many tokens form a chunk and how many rows of the weight a slice; fixed by the sizes alone. */
struct Plan {
  size_t rows, chunk;
  explicit Plan(size_t vocabulary)
      : rows(vocabulary <= kWhole ? vocabulary : kSlice), chunk(least(kChunk, rows ? kHeld / rows / kBlock * kBlock : kChunk)) {}
};

/** Statistics of a block; its logits stay in `keep` if given, [V][kBlock]. */
template <class T, class W> void measure(const Problem<T, W>& p, const Block<T>& block, T* keep, Statistics<T>& statistics) {
  Scratch scratch;
  T* tile = keep ? nullptr : scratch.take<T>(least(kFold, p.vocabulary) * kBlock);
  for (size_t row = 0; row < p.vocabulary; row += kFold) {
    const size_t rows = least(kFold, p.vocabulary - row);
    T* z = keep ? keep + row * kBlock : tile;
    block.logits(p, row, rows, z);
    statistics.fold(p, block, z, row, rows);
  }
}

/** The normalisers of a block of tokens: what the forward found, or where that is coarse, found anew. */
template <class T, class W> void normalise(const Problem<T, W>& p, size_t first, const T* log_sum_exps, const Normalisers<T>& normalisers) {
  const size_t end = least(first + kBlock, p.tokens);
  bool coarse = false;
  for (size_t i = first; i < end; i++) {
    normalisers.set(i, log_sum_exps[i]);
    coarse |= normalisers.coarse(log_sum_exps[i]);
  }
  if (!coarse) return;
  Scratch scratch;
  const Block<T> block(p, first, scratch);
  Statistics<T> statistics(p.scale);
  measure<T, W>(p, block, nullptr, statistics);
  for (size_t i = first; i < end; i++)
    if (normalisers.coarse(log_sum_exps[i])) normalisers.set(i, statistics, i - first);
}

/** Gradients of a chunk whose slopes are known; `held` has room for the chunk's tokens times a slice. Arrays begin at token 0. */
template <class T, class W>
void backward_chunk(Stream& stream, const Problem<T, W>& p, const Plan& plan, size_t first, size_t end, T* held, const T* d_log_probs,
                    const T* d_entropy, const Normalisers<T>& normalisers, const T* entropies, T* d_hidden, T* d_weight) {
  for (size_t row = 0; row < p.vocabulary; row += plan.rows) {
    const size_t rows = least(plan.rows, p.vocabulary - row);
    parallel_for(stream, blocks_of(end - first, kBlock), [&](size_t item) {
      Scratch scratch;
      const Block<T> block(p, first + item * kBlock, scratch);
      T* z = held + item * rows * kBlock;
      block.logits(p, row, rows, z);
      Slopes<T>(block, d_log_probs, d_entropy, normalisers, entropies).apply(p, block, z, row, rows);
      add_hidden(p, block, z, row, rows, row > 0, d_hidden);
    });
    add_weight(stream, p, first, end, held, row, rows, d_weight);
  }
}

}  // namespace

KERNEL_WEIGHT(cpu, Head) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  parallel_for(stream, blocks_of(p.tokens, kBlock), [&](size_t item) {
    Scratch scratch;
    const Block<T> block(p, item * kBlock, scratch);
    Statistics<T> statistics(p.scale);
    measure<T, W>(p, block, nullptr, statistics);
    for (size_t t = 0, i = block.first; t < block.tokens; t++, i++)
      statistics.finish(t, &op.logProbs[i], &op.entropy[i], &op.logSumExp[i]);
  });
  if (all_finite(stream, op.kName, "a logit", op.logProbs.data, 0, p.tokens))
    all_finite(stream, op.kName, "a logit", op.entropy.data, 0, p.tokens);
}

KERNEL_WEIGHT(cpu, HeadBackward) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  const Plan plan(p.vocabulary);
  Scratch scratch;
  T* held = scratch.take<T>(plan.rows * blocks_of(least(plan.chunk, p.tokens), kBlock) * kBlock);
  const Normalisers<T> normalisers(p.tokens, scratch);
  parallel_for(stream, blocks_of(p.tokens, kBlock), [&](size_t item) { normalise(p, item * kBlock, op.logSumExp.data, normalisers); });
  for (size_t first = 0; first < p.tokens; first += plan.chunk)
    backward_chunk(stream, p, plan, first, least(first + plan.chunk, p.tokens), held, op.dLogProbs.data, op.dEntropy.data,
                      normalisers, op.entropy.data, op.dHidden.data, op.dWeight.data);
}

KERNEL_WEIGHT(cpu, HeadPolicyLoss) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  if (!loss_arguments_hold(stream, op)) return;
  const simd::TokenLoss<T> token_loss(op);
  const Plan plan(p.vocabulary);
  const bool whole = plan.rows >= p.vocabulary;
  Scratch scratch;
  T* held = scratch.take<T>(plan.rows * blocks_of(least(plan.chunk, p.tokens), kBlock) * kBlock);
  T* d_log_probs = scratch.take<T>(p.tokens);
  const Normalisers<T> normalisers(p.tokens, scratch);
  for (size_t first = 0; first < p.tokens; first += plan.chunk) {
    const size_t end = least(first + plan.chunk, p.tokens);
    parallel_for(stream, blocks_of(end - first, kBlock), [&](size_t item) {
      Scratch own;
      const Block<T> block(p, first + item * kBlock, own);
      T* z = whole ? held + item * plan.rows * kBlock : nullptr;
      Statistics<T> statistics(p.scale);
      measure(p, block, z, statistics);
      const size_t at = block.first;
      for (size_t t = 0; t < block.tokens; t++) {
        T log_sum_exp;
        statistics.finish(t, &op.logProbs[at + t], &op.entropy[at + t], &log_sum_exp);
        normalisers.set(at + t, log_sum_exp);
        if (normalisers.coarse(log_sum_exp)) normalisers.set(at + t, statistics, t);
      }
      simd::token_losses<T>(token_loss, op.logProbs.data, at, at + block.tokens, op.loss.data, d_log_probs, op.clipped.data);
      for (size_t i = at; i < at + block.tokens; i++) d_log_probs[i] += op.logProbSlopes[i];
      if (!whole) return;
      Slopes<T>(block, d_log_probs, op.entropySlopes.data, normalisers, op.entropy.data).apply(p, block, z, 0, p.vocabulary);
      add_hidden(p, block, z, 0, p.vocabulary, false, op.dHidden.data);
    });
    // before anything reaches dWeight
    if (!all_finite(stream, op.kName, "a logit", op.logProbs.data, first, end) ||
        !all_finite(stream, op.kName, "a logit", op.entropy.data, first, end) ||
        !all_finite(stream, op.kName, "the loss", op.loss.data, first, end) ||
        !all_finite(stream, op.kName, "the slope", d_log_probs, first, end))
      return;
    if (whole)
      add_weight(stream, p, first, end, held, 0, p.vocabulary, op.dWeight.data);
    else
      backward_chunk(stream, p, plan, first, end, held, d_log_probs, op.entropySlopes.data, normalisers, op.entropy.data,
                        op.dHidden.data, op.dWeight.data);
  }
}

}  // namespace g2rpo
