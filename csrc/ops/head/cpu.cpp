// hot
// Three products: logits of the hidden states, and from their gradient those of the hidden states and of the weight. The first and the
// last go tile by tile over the vocabulary, so that sums and slopes are taken of logits that a near cache still holds. In training the
// logits of a block of tokens are held until all of their sums are known, and are not computed twice.
#include "../../backends/cpu/gemm.h"
#include "../policy_loss/token_loss.h"
#include "arguments.h"
#include "block.h"

namespace g2rpo {

namespace {

constexpr size_t kTogether = 8;            // blocks that meet a tile of the weight while it is near, where no logits are held
constexpr size_t kNear = size_t{1} << 19;  // logits that a near cache holds beside all else
constexpr size_t kStretches = 16;          // of the vocabulary, whose gradients of the hidden states are added up apart

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

/** Whether a near cache holds the logits of a block. */
template <class T, class W> bool fits_near(const Problem<T, W>& p) { return p.vocabulary * p.stride < kNear; }

/** Blocks [begin, end) of tokens against the vocabulary, with room for their statistics and, if they are to be held, their logits. */
template <class T, class W> struct Chunk {
  Stream& stream;
  const Problem<T, W>& p;
  const size_t begin, end;
  T* const statistics_room;
  T* const held;  // [blocks][V][stride], or null
  // hidden states, packed for the two products that read them many times
  T* columns = nullptr;
  T* rows = nullptr;

  size_t room_of_columns() const { return (kBlock + 64) * p.width; }
  size_t room_of_rows() const { return (p.width + 64) * kBlock; }
  const W* weight_of(size_t tile) const { return p.weight + tile * p.tile * p.width; }
  const T* hidden(size_t b) const { return p.hidden + b * kBlock * p.width; }
  T* logits_of(size_t b, size_t tile) const { return held + ((b - begin) * p.vocabulary + tile * p.tile) * p.stride; }
  Statistics<T> statistics(size_t b) const {
    return {statistics_room + (b - begin) * Statistics<T>::size(p.tiles()), p.tiles(), p.scale};
  }

  template <class A = T> Gemm<T, T, A> logits(size_t b) const {
    return {.b = {hidden(b), p.tokens_of(b) * p.width}, .n = p.tokens_of(b), .k = p.width, .a_row = p.width, .b_row = 1, .b_col = p.width, .c_row = p.stride};
  }
  Gemm<T> weight_gradient(size_t b) const {
    return {.b = {hidden(b), p.tokens_of(b) * p.width}, .n = p.width, .k = p.tokens_of(b), .a_row = p.stride, .b_row = p.width, .c_row = p.width, .accumulate = true};
  }

  void pack_columns(Scratch& scratch) {
    columns = scratch.take<T>(room_of_columns() * (end - begin));
    parallel_for(stream, end - begin, [&](size_t i) {
      Gemm<T> op = logits(begin + i);
      op.pack_to = columns + i * room_of_columns();
      multiply_hidden(op);
    });
  }
  void pack_rows(Scratch& scratch) {
    rows = scratch.take<T>(room_of_rows() * (end - begin));
    parallel_for(stream, end - begin, [&](size_t i) {
      Gemm<T> op = weight_gradient(begin + i);
      op.pack_to = rows + i * room_of_rows();
      multiply_hidden(op);
    });
  }

  /** Whether hidden states and slopes are rounded, beside a weight in bf16 where that is faster. */
  static bool rounds() { return __is_same(W, bf16) && rounding_pays(); }
  /** Of hidden states. */
  void multiply_hidden(const Gemm<T>& op) const {
    if constexpr (__is_same(W, bf16))
      if (rounds()) return multiply(stream, RoundedGemm<>{op});
    multiply(stream, op);
  }

  /** Calls body(block, tile, room for logits, room for the widened rows of a tile) for all of them. */
  template <class F> void each_tile(F&& body) const {
    parallel_for(stream, p.tiles(), [&](size_t tile) {
      Scratch own;
      T* const near = held ? nullptr : own.take<T>(p.tile * p.stride);
      T* const widened = own.take<T>(room_of_widened());
      for (size_t b = begin; b < end; b++) body(b, tile, held ? logits_of(b, tile) : near, widened);
    });
  }
  /** The logits of a tile; `widened` is room for its rows, of which the first block leaves those of a weight in bf16 that products do not take. */
  void multiply_tile(size_t b, size_t tile, T* z, T* widened) const {
    const size_t count = p.rows_of(tile);
    const auto of = [&](auto op, const auto* weight) {
      op.a.data = weight;
      op.c.data = z;
      op.m = count;
      op.packed = columns + (b - begin) * room_of_columns();
      return op;
    };
    if constexpr (__is_same(W, bf16)) {
      if (rounds()) return multiply(stream, RoundedGemm<bf16>{of(logits<bf16>(b), weight_of(tile))});
      if (b == begin) simd::copy_row(widened, weight_of(tile), count * p.width);
      multiply(stream, of(logits(b), widened));
    } else {
      multiply(stream, of(logits(b), weight_of(tile)));
    }
  }
  size_t room_of_widened() const { return __is_same(T, W) || rounds() ? 0 : p.tile * p.width; }

  void measure() const {
    each_tile([&](size_t b, size_t tile, T* z, T* widened) {
      multiply_tile(b, tile, z, widened);
      statistics(b).fold(p, b, z, tile);
    });
  }

  /** Gradients of what is held: logits that `are_there`, or have yet to be computed. */
  void gradients(bool are_there, const Slopes<T>& slopes, T* d_hidden, T* d_weight) const {
    if (fits_near(p)) return gradients_near(are_there, slopes, d_hidden, d_weight);
    // Logits are read once more, and slopes never leave a near cache: stretches of tiles add up gradients of the hidden states of their own.
    const size_t size = p.tokens_of(begin) * p.width, stretch = blocks_of(p.tiles(), kStretches), count = blocks_of(p.tiles(), stretch);
    Scratch scratch;
    T* const apart = scratch.take<T>((count - 1) * size);
    T* const first = d_hidden + begin * kBlock * p.width;
    parallel_for(stream, count, [&](size_t i) {
      Scratch own;
      T* const slope = own.take<T>(p.tile * p.stride);
      T* const widened = own.take<T>(room_of_widened());
      for (size_t tile = i * stretch; tile < least((i + 1) * stretch, p.tiles()); tile++) {
        T* z = logits_of(begin, tile);
        if (!are_there) multiply_tile(begin, tile, z, widened);
        slopes.apply(p, begin, z, slope, tile);
        if (d_weight) add_to_weight(begin, tile, slope, d_weight);
        multiply(stream, hidden_gradient(begin, tile * p.tile, p.rows_of(tile), slope, i == 0 ? first : apart + (i - 1) * size, tile > i * stretch));
      }
    });
    constexpr size_t together = 64 * lanes<T>;
    parallel_for(stream, blocks_of(size, together), [&](size_t i) {
      for (size_t s = 0; s + 1 < count; s++) simd::add_row(first + i * together, apart + s * size + i * together, least(together, size - i * together));
    });
  }

 private:
  /** The same for logits that stay near; slopes take their place. */
  void gradients_near(bool are_there, const Slopes<T>& slopes, T* d_hidden, T* d_weight) const {
    each_tile([&](size_t b, size_t tile, T* z, T* widened) {
      if (!are_there) multiply_tile(b, tile, z, widened);
      slopes.apply(p, b, z, z, tile);
      if (d_weight) add_to_weight(b, tile, z, d_weight);
    });
    for (size_t b = begin; b < end; b++) multiply(stream, hidden_gradient(b, 0, p.vocabulary, logits_of(b, 0), d_hidden + b * kBlock * p.width, false));
  }
  void add_to_weight(size_t b, size_t tile, const T* slope, T* d_weight) const {
    Gemm<T> op = weight_gradient(b);
    op.a.data = slope;
    op.c.data = d_weight + tile * p.tile * p.width;
    op.m = p.rows_of(tile);
    op.packed = rows + (b - begin) * room_of_rows();
    multiply_hidden(op);
  }
  /** From slopes of `count` rows of the weight, to what may hold that of others already. */
  Gemm<T, W> hidden_gradient(size_t b, size_t first, size_t count, const T* slope, T* to, bool add) const {
    return {.a = {slope, count * p.stride}, .b = {p.weight + first * p.width, count * p.width}, .c = {to, p.tokens_of(b) * p.width},
            .m = p.tokens_of(b), .n = p.width, .k = count, .a_row = 1, .a_col = p.stride, .b_row = p.width, .c_row = p.width, .accumulate = add};
  }
};

/** Blocks of a chunk whose logits are held: one, or where the vocabulary is small as many as a near cache has room for. */
template <class T, class W> size_t held_blocks(const Problem<T, W>& p) {
  return fits_near(p) ? least(blocks_of(p.tokens, kBlock), kNear / (p.vocabulary * p.stride + 1)) : 1;
}

/** body(chunk, its first token, its last) for chunks of blocks whose logits are held, in order; false from it ends them. Rows are packed if `packs_rows`. */
template <class T, class W, class F> void each_held_chunk(Stream& stream, const Problem<T, W>& p, bool packs_rows, F&& body) {
  const size_t blocks = blocks_of(p.tokens, kBlock), together = held_blocks(p);
  Scratch scratch;
  T* statistics = scratch.take<T>(Statistics<T>::size(p.tiles()) * together);
  T* held = scratch.take<T>(together * p.vocabulary * p.stride);
  for (size_t begin = 0; begin < blocks; begin += together) {
    Scratch inner;
    Chunk<T, W> chunk{stream, p, begin, least(begin + together, blocks), statistics, held};
    chunk.pack_columns(inner);
    if (packs_rows) chunk.pack_rows(inner);
    if (!body(chunk, begin * kBlock, least(chunk.end * kBlock, p.tokens))) return;
  }
}

}  // namespace

KERNEL_WEIGHT(cpu, Head) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  const size_t blocks = blocks_of(p.tokens, kBlock);
  Scratch scratch;
  T* statistics = scratch.take<T>(Statistics<T>::size(p.tiles()) * least(kTogether, blocks));
  for (size_t begin = 0; begin < blocks; begin += kTogether) {
    Scratch inner;
    Chunk<T, W> chunk{stream, p, begin, least(begin + kTogether, blocks), statistics, nullptr};
    chunk.pack_columns(inner);
    chunk.measure();
    parallel_for(stream, chunk.end - begin, [&](size_t i) {
      const Statistics<T> found = chunk.statistics(begin + i);
      const size_t first = (begin + i) * kBlock;
      for (size_t t = 0; t < p.tokens_of(begin + i); t++)
        found.finish(found.join(p.tiles(), t), t, &op.logProbs[first + t], &op.entropy[first + t], &op.logSumExp[first + t]);
    });
  }
  if (all_finite(stream, op.kName, "a logit", op.logProbs.data, 0, p.tokens))
    all_finite(stream, op.kName, "a logit", op.entropy.data, 0, p.tokens);
}

KERNEL_WEIGHT(cpu, HeadBackward) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  Scratch scratch;
  const Normalisers<T> normalisers(p.tokens, scratch);
  each_held_chunk(stream, p, bool(op.dWeight), [&](const Chunk<T, W>& chunk, size_t first, size_t last) {
    // what the forward pass found, or where that is coarse, found anew
    bool coarse = false;
    for (size_t i = first; i < last; i++) {
      normalisers.set(i, op.logSumExp[i]);
      coarse |= normalisers.coarse(op.logSumExp[i]);
    }
    if (coarse) {
      chunk.measure();
      for (size_t i = first; i < last; i++)
        if (normalisers.coarse(op.logSumExp[i])) normalisers.set(i, chunk.statistics(i / kBlock).join(p.tiles(), i % kBlock));
    }
    chunk.gradients(coarse, {op.dLogProbs.data, op.dEntropy.data, op.entropy.data, normalisers}, op.dHidden.data, op.dWeight.data);
    return true;
  });
}

KERNEL_WEIGHT(cpu, HeadPolicyLoss) {
  const Problem<T, W> p = problem_of(op);
  if (!arguments_hold(stream, op, p)) return;
  if (!loss_arguments_hold(stream, op)) return;
  const simd::TokenLoss<T> token_loss(op);
  Scratch scratch;
  const Normalisers<T> normalisers(p.tokens, scratch);
  T* d_log_probs = scratch.take<T>(p.tokens);
  each_held_chunk(stream, p, bool(op.dWeight), [&](const Chunk<T, W>& chunk, size_t first, size_t last) {
    chunk.measure();
    parallel_for(stream, chunk.end - chunk.begin, [&](size_t i) {
      const size_t block = chunk.begin + i, begin = block * kBlock, end = begin + p.tokens_of(block);
      const Statistics<T> found = chunk.statistics(block);
      for (size_t at = begin; at < end; at++) {
        T log_sum_exp;
        const auto whole = found.join(p.tiles(), at - begin);
        found.finish(whole, at - begin, &op.logProbs[at], &op.entropy[at], &log_sum_exp);
        if (normalisers.coarse(log_sum_exp)) normalisers.set(at, whole);
        else normalisers.set(at, log_sum_exp);
      }
      simd::token_losses<T>(token_loss, op.logProbs.data, begin, end, op.loss.data, d_log_probs, op.clipped.data);
      for (size_t at = begin; at < end; at++) d_log_probs[at] += op.logProbSlopes[at];
    });
    // before anything reaches dWeight
    if (!all_finite(stream, op.kName, "a logit", op.logProbs.data, first, last) ||
        !all_finite(stream, op.kName, "a logit", op.entropy.data, first, last) ||
        !all_finite(stream, op.kName, "the loss", op.loss.data, first, last) ||
        !all_finite(stream, op.kName, "the slope", d_log_probs, first, last) ||
        !all_finite(stream, op.kName, "the slope", op.entropySlopes.data, first, last))
      return false;
    chunk.gradients(true, {d_log_probs, op.entropySlopes.data, op.entropy.data, normalisers}, op.dHidden.data, op.dWeight.data);
    return true;
  });
}

}  // namespace g2rpo
