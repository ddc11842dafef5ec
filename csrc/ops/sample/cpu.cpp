// hot
// Rows are met slice by slice (race.h). Where logits are computed for the draws alone, a slice of them is drawn from while a core has it
// in its cache, and the others are not there.
#include "../../backends/cpu/gemm.h"
#include "../../core/arena.h"
#include "../linear/op.h"
#include "arguments.h"
#include "race.h"
#include "select.h"

namespace g2rpo {

namespace {

constexpr size_t kItem = 1 << 14;         // logits of an item of the pool
constexpr size_t kNearRows = 128;         // rows whose logits of a slice are there at a time …
constexpr size_t kLeastRows = 18;         // … or fewer, where threads want something to share
constexpr size_t kItemsPerThread = 3;

/** Turns logits into those that sampling sees, less the largest of them: repetition penalty, banned ids, temperature (0 counts as 1). */
template <class T> void adjust(const Sample<T>& op, const T* logits, const uint8_t* seen, size_t n, T* out) {
  const T penalty = static_cast<T>(op.repetitionPenalty);
  for (size_t v = 0; v < n; v++) {
    T z = logits[v];
    if (seen && seen[v]) z = z > 0 ? z / penalty : z * penalty;
    out[v] = op.allowed && !op.allowed[v] ? T(-__builtin_inf()) : z;
  }
  const T scale = scale_of<T>(op.temperature > 0 ? op.temperature : 1), top = largest_of<T>(out, n, nullptr);
  if (top - top == 0)
    for (size_t v = 0; v < n; v++) out[v] = (out[v] - top) * scale;
}

/** Keeps the k largest and everything tied with the k-th; the others become −∞. */
template <class T> void keep_top_k(T* z, size_t n, size_t k) {
  if (k == 0 || k >= n) return;
  Scratch scratch;
  T* values = scratch.take<T>(n);
  __builtin_memcpy(values, z, n * sizeof(T));
  const T bound = simd::select_falling<T>(values, nullptr, n, static_cast<double>(k)).value;
  for (size_t v = 0; v < n; v++) z[v] = z[v] >= bound ? z[v] : T(-__builtin_inf());
}

/** Keeps the shortest prefix, in falling order and lower ids first among equals, whose probabilities reach p; at least one id. */
template <class T> void keep_top_p(T* z, size_t n, double p) {
  constexpr size_t w = lanes<T>;
  if (p >= 1) return;
  Scratch scratch;
  T* values = scratch.take<T>(n + w);
  T* weights = scratch.take<T>(n + w);
  const T m = largest_of<T>(z, n, nullptr);
  size_t count = 0;
  for (size_t v = 0; v < n; v++)
    if (z[v] > T(-__builtin_inf())) values[count++] = z[v];
  double total = 0;
  for (size_t v = 0; v < count; v += w) {
    simd::store<T>(weights + v, simd::exp(simd::load_n<T>(values + v, least(w, count - v)) - m));
    for (size_t i = v; i < least(v + w, count); i++) total += static_cast<double>(weights[i]);
  }
  if (count == 0) return;
  const auto bound = simd::select_falling<T>(values, weights, count, p * total);
  const double weight = static_cast<double>(simd::exp(splat<T>(bound.value - m))[0]);
  double reached = bound.above;
  bool none = true;
  for (size_t v = 0; v < n; v++) {
    bool keep = z[v] > bound.value;
    if (z[v] == bound.value && (none || reached < p * total)) {
      reached += weight;
      none = false;
      keep = true;
    }
    if (!keep) z[v] = T(-__builtin_inf());
  }
}

G2_INLINE RandomKey key_of(View<const int32_t> keys, size_t row) {
  const int32_t* k = keys.data + row * 4;
  return {static_cast<uint32_t>(k[0]), static_cast<uint32_t>(k[1]), static_cast<uint32_t>(k[2]), static_cast<uint32_t>(k[3])};
}

/** The best score of a row so far, of whatever slices have been met: it spares others their clocks, and changes nothing that they decide. */
class BestScore {
 public:
  G2_INLINE double value() const {
    double value;
    __atomic_load(&value_, &value, __ATOMIC_RELAXED);
    return value;
  }
  G2_INLINE void offer(double score) {
    for (double seen = value(); score > seen && !__atomic_compare_exchange(&value_, &seen, &score, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);) {}
  }

 private:
  double value_ = -__builtin_inf();
};

template <class T>
G2_INLINE Slice measure(Pick pick, const T* z, size_t n, size_t first, T scale, BestScore& best, const uint8_t* allowed, const RandomKey& key) {
  if (pick == Pick::largest) return measure_slice<T, Pick::largest>(z, n, first, scale, 0, allowed, key);
  if (pick == Pick::none) return measure_slice<T, Pick::none>(z, n, first, scale, 0, allowed, key);
  const Slice slice = measure_slice<T, Pick::race>(z, n, first, scale, best.value(), allowed, key);
  if (slice.token >= 0) best.offer(known_score(slice, static_cast<double>(scale)));
  return slice;
}

/** A row of logits that are all there. */
template <class T> Slice whole_row(Pick pick, const T* z, size_t n, double temperature, const uint8_t* allowed, const RandomKey& key) {
  const size_t count = slices_of(n);
  Scratch scratch;
  Slice* slices = scratch.take<Slice>(count);
  BestScore best;
  const T scale = scale_of<T>(temperature);
  for (size_t i = 0; i < count; i++) {
    const size_t first = i * kSlice;
    slices[i] = measure(pick, z + first, least(kSlice, n - first), first, scale, best, allowed ? allowed + first : nullptr, key);
  }
  return join_slices(pick, slices, count, static_cast<double>(scale));
}

/** Writes what is said of a row. @return its token, or why there is none */
template <class T> int32_t finish_row(const Slice& row, double scale, T* log_prob, T* entropy) {
  if (row.weight - row.weight != 0 || row.largest - row.largest != 0) return kNotFinite;
  if (row.token < 0) return kNothingAllowed;
  const double log_sum = __builtin_log(row.weight), h = log_sum - row.product / row.weight;
  *log_prob = static_cast<T>((row.logit - row.largest) * scale - log_sum);
  *entropy = static_cast<T>(h < 0 ? 0 : h);  // rounding alone makes it negative
  return row.token;
}

template <class T> int32_t sample_row(const Sample<T>& op, size_t row, size_t n) {
  if (n == 0) return kNothingAllowed;
  const T* logits = op.logits.data + row * n;
  const RandomKey key = key_of(op.keys, row);
  const uint8_t* seen = op.seen && op.repetitionPenalty != 1 ? op.seen.data + row * n : nullptr;
  const bool greedy = op.temperature == 0;
  const bool filtered = !greedy && ((op.topK > 0 && static_cast<size_t>(op.topK) < n) || op.topP < 1);
  const double temperature = greedy ? 1 : op.temperature;
  const Pick pick = greedy ? Pick::largest : Pick::race;
  const bool plain = !seen && !filtered;
  Slice found = whole_row(plain ? pick : Pick::none, logits, n, temperature, op.allowed.data, key);
  if (!plain) {
    Scratch scratch;
    T* z = scratch.take<T>(n);
    adjust(op, logits, seen, n, z);
    if (filtered) {
      keep_top_k(z, n, static_cast<size_t>(op.topK));
      keep_top_p(z, n, op.topP);
    }
    found.token = whole_row(pick, z, n, 1, nullptr, key).token;
    if (found.token >= 0) found.logit = static_cast<double>(logits[found.token]);
  }
  return finish_row(found, static_cast<double>(scale_of<T>(temperature)), &op.logProbs[row], &op.entropy[row]);
}

}  // namespace

KERNEL_REAL(cpu, Sample) {
  if (!sampling_arguments_hold(stream, op)) return;
  const size_t rows = op.tokens.size, n = op.logits.dim[1];
  const size_t together = n < kItem ? kItem / (n + 1) + 1 : 1;
  parallel_for(stream, (rows + together - 1) / together, [&](size_t item) {
    for (size_t row = item * together; row < least((item + 1) * together, rows); row++) op.tokens[row] = sample_row(op, row, n);
  });
  for (size_t row = 0; row < rows; row++)
    if (op.tokens[row] < 0) return fail(stream, "NON_FINITE", RowMessage(op.kName, row, op.tokens[row]).text);
}

KERNEL_WEIGHT(cpu, SampleHead) {
  const size_t vocabulary = op.weight.dim[0], width = op.weight.dim[1], slices = slices_of(vocabulary);
  const size_t room = kSlice * packed_depth(width, __is_same(W, bf16));  // elements of a slice that is packed
  // the product of some hidden states, from `state` on, and a slice
  const auto product = [&](size_t slice, size_t state, size_t count) {
    const size_t at = slice * kSlice * width, n = least(kSlice, vocabulary - slice * kSlice);
    Gemm<T, W> gemm{.a = {op.hidden.data + state * width, count * width}, .b = {op.weight.data + at, n * width}, .m = count, .n = n, .k = width,
                    .a_row = width, .b_row = 1, .b_col = width, .c_row = kSlice};
    if (op.packed) gemm.packed = op.packed + slice * room;
    return gemm;
  };
  if (op.pack_to || op.logits)
    return parallel_for(stream, slices, [&](size_t slice) {
      auto gemm = product(slice, 0, op.pack_to ? 0 : op.hidden.dim[0]);
      if (op.pack_to) gemm.pack_to = op.pack_to + slice * room;
      else gemm.c.data = op.logits + slice * kSlice, gemm.c_row = vocabulary;
      multiply(stream, gemm);
    });
  const size_t rows = op.tokens.size, wanted = static_cast<size_t>(threads_of(stream)) * kItemsPerThread;
  const size_t shares = slices >= wanted || threads_of(stream) == 1 ? 1 : (wanted + slices - 1) / slices;
  const size_t even = (rows + shares - 1) / shares, together = least(kNearRows, even > kLeastRows ? even : kLeastRows);
  const size_t blocks = (rows + together - 1) / together;
  Scratch scratch;
  Slice* found = scratch.take<Slice>(rows * slices);
  BestScore* best = scratch.take<BestScore>(rows);
  for (size_t row = 0; row < rows; row++) best[row] = BestScore();
  const auto pick_of = [&](size_t row) { return op.temperatures[row] == 0 ? Pick::largest : Pick::race; };
  const auto temperature_of = [&](size_t row) { return op.temperatures[row] == 0 ? 1 : op.temperatures[row]; };
  parallel_for(stream, slices * blocks, [&](size_t item) {
    const size_t slice = item / blocks, from = item % blocks * together, to = least(from + together, rows);
    const size_t first = slice * kSlice, n = least(kSlice, vocabulary - first);
    const size_t state = static_cast<size_t>(op.states[from]), count = static_cast<size_t>(op.states[to - 1]) + 1 - state;
    Scratch own;
    T* z = own.take<T>(count * kSlice);
    auto gemm = product(slice, state, count);
    gemm.c.data = z;
    multiply(stream, gemm);
    for (size_t row = from; row < to; row++) {
      const uint8_t* allowed = op.allowed[row];
      found[row * slices + slice] = measure(pick_of(row), z + (static_cast<size_t>(op.states[row]) - state) * kSlice, n, first,
                                            scale_of<T>(temperature_of(row)), best[row], allowed ? allowed + first : nullptr, key_of(op.keys, row));
    }
  });
  const size_t joined = kItem / (kSlice / kGroup * slices + 1) + 1;  // rows: to join a slice takes as long as to meet some of its logits
  parallel_for(stream, (rows + joined - 1) / joined, [&](size_t item) {
    for (size_t row = item * joined; row < least((item + 1) * joined, rows); row++) {
      const double scale = static_cast<double>(scale_of<T>(temperature_of(row)));
      op.tokens[row] = finish_row(join_slices(pick_of(row), found + row * slices, slices, scale), scale, &op.logProbs[row], &op.entropy[row]);
    }
  });
}

}  // namespace g2rpo
