#include "../../core/arena.h"
#include "op.h"

namespace g2rpo {

namespace {

/** Says what is wrong with the segments of an op, or returns true. */
template <class Op> bool valid(Stream& stream, const Op& op, size_t rows, size_t heads, size_t key_heads, const char* const (&message)[3]) {
  const size_t count = op.segmentPrefix.size;
  if (op.segmentStarts.size != count + 1 || (key_heads == 0 ? heads != 0 : heads % key_heads != 0)) {
    fail(stream, "SHAPE_MISMATCH", message[0]);
    return false;
  }
  const int32_t* starts = op.segmentStarts.data;
  const int32_t* prefix = op.segmentPrefix.data;
  bool rising = starts[0] == 0 && static_cast<size_t>(starts[count]) == rows;
  for (size_t z = 0; z < count && rising; z++) rising = starts[z] <= starts[z + 1];
  if (!rising) {
    fail(stream, "INVALID_ARGUMENT", message[1]);
    return false;
  }
  bool known = true;
  for (size_t z = 0; z < count && known; z++) {
    const int64_t p = prefix[z];
    known = p == -1 || (p >= 0 && p < static_cast<int64_t>(count) && p != static_cast<int64_t>(z) && prefix[p] == -1);
  }
  if (!known) fail(stream, "INVALID_ARGUMENT", message[2]);
  return known;
}

/** The rows that a row of segment z sees: first those of its prefix, then its own. */
struct Seen {
  size_t prefix_start = 0, prefix_length = 0, own_start = 0, own_length = 0;
  Seen(const View<const int32_t>& starts, const View<const int32_t>& prefix, size_t z)
      : own_start(static_cast<size_t>(starts[z])), own_length(static_cast<size_t>(starts[z + 1]) - own_start) {
    if (prefix[z] < 0) return;
    const size_t p = static_cast<size_t>(prefix[z]);
    prefix_start = static_cast<size_t>(starts[p]);
    prefix_length = static_cast<size_t>(starts[p + 1]) - prefix_start;
  }
  size_t row(size_t j) const { return j < prefix_length ? prefix_start + j : own_start + (j - prefix_length); }
  size_t visible(size_t i, bool causal) const { return prefix_length + (causal ? i + 1 : own_length); }
};

template <class T> T dot(const T* a, const T* b, size_t n) {
  T s = 0;
  for (size_t i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}
template <class T> void add(T* to, T factor, const T* from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] += factor * from[i];
}

}  // namespace

KERNEL_REAL(cpu, Attention) {
  const size_t rows = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2], key_heads = op.key.dim[1];
  if (!valid(stream, op, rows, heads, key_heads,
             {"attention: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention: segmentStarts must rise from 0 to the number of rows",
              "attention: segmentPrefix must be -1 or another segment that has no prefix itself"}))
    return;
  const size_t qs = op.query_stride ? op.query_stride : heads * width, ks = op.key_stride ? op.key_stride : key_heads * width;
  const T scale = static_cast<T>(op.scale);
  parallel_for(stream, op.segmentPrefix.size, [&](size_t z) {
    const Seen seen(op.segmentStarts, op.segmentPrefix, z);
    Scratch scratch;
    T* score = scratch.take<T>(seen.prefix_length + seen.own_length);
    for (size_t i = 0; i < seen.own_length; i++)
      for (size_t h = 0; h < heads; h++) {
        const size_t at = seen.own_start + i, n = seen.visible(i, op.causal), g = h / (heads / key_heads);
        T largest = -static_cast<T>(__builtin_inf());
        for (size_t j = 0; j < n; j++) {
          score[j] = scale * dot(op.query.data + at * qs + h * width, op.key.data + seen.row(j) * ks + g * width, width);
          largest = score[j] > largest ? score[j] : largest;
        }
        T sum = 0;
        for (size_t j = 0; j < n; j++) sum += score[j] = static_cast<T>(__builtin_exp(static_cast<double>(score[j] - largest)));
        T* out = op.output.data + (at * heads + h) * width;
        for (size_t d = 0; d < width; d++) out[d] = 0;
        for (size_t j = 0; j < n; j++) add(out, score[j] / sum, op.value.data + seen.row(j) * ks + g * width, width);
        op.logSumExp[at * heads + h] = largest + static_cast<T>(__builtin_log(static_cast<double>(sum)));
      }
  });
}

KERNEL_REAL(cpu, AttentionBackward) {
  const size_t rows = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2], key_heads = op.key.dim[1];
  if (!valid(stream, op, rows, heads, key_heads,
             {"attention_backward: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention_backward: segmentStarts must rise from 0 to the number of rows",
              "attention_backward: segmentPrefix must be -1 or another segment that has no prefix itself"}))
    return;
  const size_t qs = op.query_stride ? op.query_stride : heads * width, ks = op.key_stride ? op.key_stride : key_heads * width;
  const T scale = static_cast<T>(op.scale);
  parallel_for(stream, key_heads, [&](size_t g) {
    for (size_t i = 0; i < rows; i++)
      for (size_t d = 0; d < width; d++) op.dKey[i * ks + g * width + d] = op.dValue[i * ks + g * width + d] = 0;
    for (size_t z = 0; z < op.segmentPrefix.size; z++) {
      const Seen seen(op.segmentStarts, op.segmentPrefix, z);
      for (size_t i = 0; i < seen.own_length; i++)
        for (size_t h = g * (heads / key_heads); h < (g + 1) * (heads / key_heads); h++) {
          const size_t at = seen.own_start + i, packed = (at * heads + h) * width;
          const T* q = op.query.data + at * qs + h * width;
          const T* dout = op.dOutput.data + packed;
          T* dq = op.dQuery.data + at * qs + h * width;
          const T mean = dot(dout, op.output.data + packed, width);
          for (size_t d = 0; d < width; d++) dq[d] = 0;
          for (size_t n = 0; n < seen.visible(i, op.causal); n++) {
            const size_t j = seen.row(n) * ks + g * width;
            const T weight =
                static_cast<T>(__builtin_exp(static_cast<double>(scale * dot(q, op.key.data + j, width) - op.logSumExp[at * heads + h])));
            const T dscore = scale * weight * (dot(dout, op.value.data + j, width) - mean);
            add(dq, dscore, op.key.data + j, width);
            add(op.dKey.data + j, dscore, q, width);
            add(op.dValue.data + j, weight, dout, width);
          }
        }
    }
  });
}

KERNEL_REAL(cpu, DecodeAttention) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2];
  const size_t prefix_rows = op.prefixKey.dim[0], key_heads = op.prefixKey.dim[1], capacity = op.ownKey.dim[1];
  if (key_heads == 0 ? heads != 0 : heads % key_heads != 0)
    return fail(stream, "SHAPE_MISMATCH", "decode_attention: H must be a multiple of G");
  for (size_t b = 0; b < batch; b++) {
    const int64_t start = op.prefixStart[b], length = op.prefixLength[b], own = op.ownLength[b];
    if (start < 0 || length < 0 || start + length > static_cast<int64_t>(prefix_rows))
      return fail(stream, "INVALID_ARGUMENT", "decode_attention: prefixStart and prefixLength must lie inside the P rows of prefixKey");
    if (own < 0 || own > static_cast<int64_t>(capacity))
      return fail(stream, "INVALID_ARGUMENT", "decode_attention: ownLength must be in [0, C]");
  }
  const T scale = static_cast<T>(op.scale);
  parallel_for(stream, batch * heads, [&](size_t item) {
    const size_t b = item / heads, h = item % heads, g = h / (heads / key_heads), ks = key_heads * width;
    const size_t shared = static_cast<size_t>(op.prefixLength[b]), n = shared + static_cast<size_t>(op.ownLength[b]);
    const size_t prefix = static_cast<size_t>(op.prefixStart[b]) * ks + g * width, own = b * capacity * ks + g * width;
    Scratch scratch;
    T* score = scratch.take<T>(n);
    T largest = -static_cast<T>(__builtin_inf());
    for (size_t j = 0; j < n; j++) {
      const T* k = j < shared ? op.prefixKey.data + prefix + j * ks : op.ownKey.data + own + (j - shared) * ks;
      score[j] = scale * dot(op.query.data + (b * heads + h) * width, k, width);
      largest = score[j] > largest ? score[j] : largest;
    }
    T sum = 0;
    for (size_t j = 0; j < n; j++) sum += score[j] = static_cast<T>(__builtin_exp(static_cast<double>(score[j] - largest)));
    T* out = op.output.data + (b * heads + h) * width;
    for (size_t d = 0; d < width; d++) out[d] = 0;
    for (size_t j = 0; j < n; j++)
      add(out, score[j] / sum, j < shared ? op.prefixValue.data + prefix + j * ks : op.ownValue.data + own + (j - shared) * ks, width);
  });
}

}  // namespace g2rpo
