// hot
// Everything is a product of few rows, broadcast, by many lanes. The lanes are queries: H/G heads of a row lie side by side,
// so that all heads of a key head share its keys, and softmax runs down columns without crossing lanes. A run is a few
// segments behind one prefix; their queries are transposed once and meet the keys tile by tile.
#include "../../core/arena.h"
#include "backward.h"
#include "decode.h"
#include "forward.h"
#include "op.h"

namespace g2rpo {

KERNEL_REAL(cpu, Attention) {
  const Shape s = shape_of<T>(op);
  if (!valid(stream, op, s,
             {"attention: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention: segmentStarts must rise from 0 to the number of rows",
              "attention: segmentPrefix must be -1 or another segment that has no prefix itself"}) ||
      s.rows == 0)
    return;
  const size_t rows = kRunLanes / s.group > 0 ? kRunLanes / s.group : 1;
  Scratch scratch;
  Run* runs = scratch.take<Run>(op.segmentPrefix.size + s.rows / rows);
  const size_t count = find_runs(op, s.first, rows, true, runs);
  // the last block of a long segment sees most and goes first
  const size_t items = count * s.key_heads, threads = static_cast<size_t>(threads_of(stream));
  const auto run_of = [&](size_t i) -> const Run& { return runs[count - 1 - i / s.key_heads]; };
  parallel_for(stream, items, [&](size_t i) {
    const size_t next = i + threads;
    const Ahead ahead = next < items ? ahead_of(op, s, run_of(i), run_of(next), next % s.key_heads) : Ahead();
    forward_run<T>(op, s, run_of(i), i % s.key_heads, ahead);
  });
}

KERNEL_REAL(cpu, AttentionBackward) {
  const Shape s = shape_of<T>(op);
  if (!valid(stream, op, s,
             {"attention_backward: H must be a multiple of G and segmentStarts one longer than segmentPrefix",
              "attention_backward: segmentStarts must rise from 0 to the number of rows",
              "attention_backward: segmentPrefix must be -1 or another segment that has no prefix itself"}) ||
      s.rows == 0)
    return;
  const size_t segments = op.segmentPrefix.size;
  Scratch scratch;
  Run* runs = scratch.take<Run>(segments);
  const size_t count = find_runs(op, 0, kRunLanes / s.group, false, runs);
  // the runs that see a prefix, in order; each leaves its part of the prefix's gradients, which are added in that order
  Run** first = scratch.take<Run*>(segments);
  Run** last = scratch.take<Run*>(segments);
  for (size_t z = 0; z < segments; z++) first[z] = last[z] = nullptr;
  size_t size = 0;
  for (size_t r = 0; r < count; r++) {
    Run& run = runs[r];
    if (run.prefix_begin == run.prefix_end) continue;
    const size_t p = static_cast<size_t>(op.segmentPrefix[run.first]);
    (last[p] ? last[p]->next : first[p]) = &run;
    last[p] = &run;
    run.partial = size;
    size += 2 * (run.prefix_end - run.prefix_begin) * s.padded;
  }
  T* partial = scratch.take<T>(size * s.key_heads);
  const size_t items = count * s.key_heads, threads = static_cast<size_t>(threads_of(stream));
  parallel_for(stream, items, [&](size_t i) {
    const Run& run = runs[i / s.key_heads];
    const size_t g = i % s.key_heads, next = i + threads;
    const Ahead ahead = next < items ? ahead_of(op, s, run, runs[next / s.key_heads], next % s.key_heads) : Ahead();
    backward_run<T>(op, s, run, g, partial + g * size + run.partial, ahead);
  });
  if (size == 0) return;
  parallel_for(stream, segments * s.key_heads, [&](size_t i) {
    const size_t z = i / s.key_heads, g = i % s.key_heads;
    for (const Run* run = first[z]; run; run = run->next) {
      const size_t length = run->prefix_end - run->prefix_begin, to = run->prefix_begin * s.key_stride + g * s.width;
      const T* part = partial + g * size + run->partial;
      give_rows<T, true>(part, s.padded, length, s.width, T(1), op.dKey.data + to, s.key_stride);
      give_rows<T, true>(part + length * s.padded, s.padded, length, s.width, T(1), op.dValue.data + to, s.key_stride);
    }
  });
}

KERNEL_REAL(cpu, DecodeAttention) {
  const size_t batch = op.query.dim[0], heads = op.query.dim[1], width = op.query.dim[2];
  const size_t page = op.key.dim[1], key_heads = op.key.dim[2];
  if (batch > 0 && (key_heads == 0 || heads == 0 || heads % key_heads != 0))
    return fail(stream, "SHAPE_MISMATCH", attention::kBadGroups);
  if (const char* problem = problem_of(op)) return fail(stream, "INVALID_ARGUMENT", problem);
  if (batch == 0) return;
  constexpr size_t L = kLanes<T>;
  const size_t group = heads / key_heads;
  // a run is a few rows with the same prefix
  Scratch scratch;
  size_t* runs = scratch.take<size_t>(batch + 1);
  size_t count = 0;
  for (size_t b = 0; b < batch; b++)
    if (b == 0 || op.prefix[b] != op.prefix[b - 1] || (b - runs[count - 1] + 1) * group > kDecodeRows) runs[count++] = b;
  runs[count] = batch;
  parallel_for(stream, count * key_heads, [&](size_t item) {
    const size_t begin = runs[item / key_heads], g = item % key_heads, rows = (runs[item / key_heads + 1] - begin) * group;
    Scratch own;
    Decoder<T> d;
    d.width = width, d.even = round_up(width, 4), d.padded = round_up(width, L), d.key_stride = key_heads * width, d.page = page;
    d.key = op.key.data + g * width, d.value = op.value.data + g * width;
    d.query = own.take<T>(round_up(rows, 4) * d.even + 4 * d.even + L);
    d.out = own.take<T>(rows * d.padded);
    d.top = own.take<T>(rows);
    d.sum = own.take<T>(rows);
    d.keys = own.take<T>(round_up(kTileDecode, L) * width);
    d.values = own.take<T>(kTileDecode * d.padded + L);
    d.score = own.take<T>(round_up(rows, 4) * kTileDecode);
    d.fade = own.take<T>(rows);
    d.part = own.take<T>(round_up(rows, 4) * d.padded);
    zero(d.query, round_up(rows, 4) * d.even + 4 * d.even);
    zero(d.out, rows * d.padded);
    const T scale = static_cast<T>(op.scale * kLog2E);
    for (size_t r = 0; r < rows; r++) {
      d.top[r] = -static_cast<T>(__builtin_inf());
      d.sum[r] = 0;
      const T* q = op.query.data + ((begin + r / group) * heads + g * group + r % group) * width;
      for (size_t k = 0; k < width; k++) d.query[r * d.even + k] = q[k] * scale;
    }
    if (const int32_t p = op.prefix[begin]; p >= 0)
      d.meet(0, rows, op.prefixPages.data + static_cast<size_t>(p) * op.prefixPages.dim[1], static_cast<size_t>(op.prefixLength[static_cast<size_t>(p)]));
    for (size_t b = begin; b < begin + rows / group; b++)
      d.meet((b - begin) * group, group, op.ownPages.data + b * op.ownPages.dim[1], static_cast<size_t>(op.ownLength[b]));
    for (size_t r = 0; r < rows; r++) {
      const T factor = d.sum[r] == 0 ? T(0) : 1 / d.sum[r];
      T* out = op.output.data + ((begin + r / group) * heads + g * group + r % group) * width;
      give_rows<T, false>(d.out + r * d.padded, 0, 1, width, factor, out, 0);
    }
  });
}

}  // namespace g2rpo
