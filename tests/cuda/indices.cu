#include "../../csrc/ops/embedding/op.h"
#include "../../csrc/ops/position_embedding/op.h"
#include "../../csrc/ops/visual_splice/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** Indices in [lowest, count); `often` of them 0, as one token is of many. */
Array<int32_t> indices(size_t n, int32_t lowest, int32_t count, unsigned seed, double often = 0) {
  std::mt19937 bits(seed);
  std::uniform_int_distribution<int32_t> any(lowest, count - 1);
  std::bernoulli_distribution same(often);
  std::vector<int32_t> found(n);
  for (auto& i : found) i = same(bits) ? 0 : any(bits);
  return Array<int32_t>(std::move(found));
}

/** n different ones below count. */
Array<int32_t> different(size_t n, int32_t count, unsigned seed) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; i++) all[static_cast<size_t>(i)] = i;
  std::shuffle(all.begin(), all.end(), std::mt19937(seed));
  all.resize(n);
  return Array<int32_t>(std::move(all));
}

std::string shape(size_t rows, size_t width) { return " " + std::to_string(rows) + " x " + std::to_string(width); }

template <class T, class W = T> void embedding(Harness& h) {
  const auto test = [&](size_t n, size_t vocabulary, size_t width, double often, bool timing) {
    auto ids = indices(n, -1, static_cast<int32_t>(vocabulary), 1, often);
    auto table = random_weights<W, T>(vocabulary * width, 2);
    auto dTable = randoms<T>(vocabulary * width, 4), dX = randoms<T>(n * width, 3), x = zeros<T>(n * width);
    const std::function<Embedding<T, W>(Side)> forward = [&](Side s) { return Embedding<T, W>{ids.view(s), table.view(s, vocabulary, width), x.view(s, n, width)}; };
    const std::function<EmbeddingBackward<T>(Side)> backward = [&](Side s) {
      return EmbeddingBackward<T>{ids.view(s), dX.view(s, n, width), dTable.view(s, vocabulary, width)};
    };
    const std::string size = shape(n, width) + (often > 0 ? ", one often" : "");
    const double once = static_cast<double>(n * width * sizeof(T));
    if (timing) {
      h.time<Embedding<T, W>>(typed<T, W>("embedding") + size, once + static_cast<double>(n * width * sizeof(W)), forward);
      if (sizeof(W) == 2) return;
      h.time<EmbeddingBackward<T>>(typed<T>("embedding_backward") + size, 3 * once, backward);
      return;
    }
    h.on_both<Embedding<T, W>>(forward);
    h.close(typed<T, W>("embedding") + size, x, kTolerance<T>);
    if (sizeof(W) == 2) return;  // the gradient knows nothing of the table
    h.on_both<EmbeddingBackward<T>>(backward);
    h.close(typed<T>("embedding_backward") + size, dTable, 10 * kTolerance<T>);  // sums of many rows
    if (n > 100) h.repeats<EmbeddingBackward<T>, T>(typed<T>("embedding_backward") + size, dTable, backward);
  };
  test(0, 5, 8, 0, false), test(1, 1, 1, 0, false), test(33, 7, 33, 0, false), test(65, 1, 4, 0, false), test(300, 50, 64, 0, false), test(1000, 2050, 128, 0.5, false), test(70, 10, 2050, 0.9, false);
  test(2050, 300, 4, 0.1, false), test(9000, 70, 4, 0.3, false);  // keys that are compared, and that are sorted digit by digit
  auto table = zeros<W>(12);
  auto x = zeros<T>(16);
  Array<int32_t> bad(std::vector<int32_t>{0, 2, 3, -2});
  h.both_refuse<Embedding<T, W>>(typed<T, W>("embedding") + " of an id that is none", "INVALID_ARGUMENT", [&](Side s) { return Embedding<T, W>{bad.view(s), table.view(s, 3, 4), x.view(s, 4, 4)}; });
  auto dTable = zeros<T>(9);
  h.both_refuse<EmbeddingBackward<T>>(typed<T>("embedding_backward") + " of an id that is none", "INVALID_ARGUMENT", [&](Side s) {
    return EmbeddingBackward<T>{bad.view(s), x.view(s, 4, 3), dTable.view(s, 3, 3)};
  });
  if (sizeof(T) == 4 && h.timed()) test(8192, 151936, 2048, 0.05, true), test(8192, 151936, 4096, 0.05, true);
}

template <class T> void visual_splice(Harness& h) {
  const auto test = [&](size_t n, size_t features, size_t rows, size_t width, bool timing) {
    auto from = randoms<T>(features * width, 1), x = randoms<T>(rows * width, 2), y = zeros<T>(n * width), dX = randoms<T>(rows * width, 3), dFeatures = randoms<T>(features * width, 4);
    auto dY = randoms<T>(n * width, 5);
    auto once = different(n, static_cast<int32_t>(rows), 6), many = indices(n, 0, static_cast<int32_t>(rows), 7, 0.3), source = indices(n, 0, static_cast<int32_t>(std::max<size_t>(features, 1)), 8);
    const std::function<VisualSplice<T>(Side)> splice = [&](Side s) { return VisualSplice<T>{from.view(s, features, width), once.view(s), source.view(s), x.view(s, rows, width)}; };
    const std::function<DeepstackAdd<T>(Side)> add = [&](Side s) { return DeepstackAdd<T>{from.view(s, features, width), once.view(s), source.view(s), x.view(s, rows, width)}; };
    const std::function<VisualGather<T>(Side)> gather = [&](Side s) { return VisualGather<T>{dX.view(s, rows, width), many.view(s), source.view(s), dFeatures.view(s, features, width)}; };
    const std::function<GatherRows<T>(Side)> gather_rows = [&](Side s) { return GatherRows<T>{x.view(s, rows, width), many.view(s), y.view(s, n, width)}; };
    const std::function<GatherRowsBackward<T>(Side)> backward = [&](Side s) { return GatherRowsBackward<T>{dY.view(s, n, width), many.view(s), dX.view(s, rows, width)}; };
    const std::string size = shape(n, width);
    const double bytes = static_cast<double>(n * width * sizeof(T));
    if (timing) {
      h.time<VisualSplice<T>>(typed<T>("visual_splice") + size, 2 * bytes, splice);
      h.time<DeepstackAdd<T>>(typed<T>("deepstack_add") + size, 3 * bytes, add);
      h.time<VisualGather<T>>(typed<T>("visual_gather") + size, 3 * bytes, gather);
      h.time<GatherRows<T>>(typed<T>("gather_rows") + size, 2 * bytes, gather_rows);
      h.time<GatherRowsBackward<T>>(typed<T>("gather_rows_backward") + size, 3 * bytes, backward);
      return;
    }
    h.on_both<VisualSplice<T>>(splice);
    h.close(typed<T>("visual_splice") + size, x, kTolerance<T>);
    h.on_both<DeepstackAdd<T>>(add);
    h.close(typed<T>("deepstack_add") + size, x, kTolerance<T>);
    h.on_both<VisualGather<T>>(gather);
    h.close(typed<T>("visual_gather") + size, dFeatures, kTolerance<T>);
    h.on_both<GatherRows<T>>(gather_rows);
    h.close(typed<T>("gather_rows") + size, y, kTolerance<T>);
    h.on_both<GatherRowsBackward<T>>(backward);
    h.close(typed<T>("gather_rows_backward") + size, dX, 10 * kTolerance<T>);  // sums of many rows
    if (n > 100) h.repeats<GatherRowsBackward<T>, T>(typed<T>("gather_rows_backward") + size, dX, backward);
  };
  test(0, 0, 3, 8, false), test(1, 1, 1, 1, false), test(33, 40, 50, 33, false), test(200, 64, 300, 64, false), test(9, 9, 20, 2050, false);
  auto x = zeros<T>(12);
  Array<int32_t> good(std::vector<int32_t>{2, 0, 1}), bad(std::vector<int32_t>{2, 3, -1}), twice(std::vector<int32_t>{2, 1, 2});
  const auto refuse = [&]<template <class> class Op>(const char* name) {
    const auto op = [&](Array<int32_t>& rows, Array<int32_t>& source) {
      return [&](Side s) { return Op<T>{x.view(s, 3, 4), rows.view(s), source.view(s), x.view(s, 3, 4)}; };
    };
    h.both_refuse<Op<T>>(typed<T>(name) + " of a bad row", "INVALID_ARGUMENT", op(bad, good));
    h.both_refuse<Op<T>>(typed<T>(name) + " of a bad source", "INVALID_ARGUMENT", op(good, bad));
    h.both_refuse<Op<T>>(typed<T>(name) + " of a bad row and source", "INVALID_ARGUMENT", op(bad, bad));
    if (std::string(name) != "visual_gather") h.both_refuse<Op<T>>(typed<T>(name) + " of a row that occurs twice", "INVALID_ARGUMENT", op(twice, good));
  };
  refuse.template operator()<VisualSplice>("visual_splice"), refuse.template operator()<DeepstackAdd>("deepstack_add"), refuse.template operator()<VisualGather>("visual_gather");
  h.both_refuse<GatherRows<T>>(typed<T>("gather_rows") + " of a bad row", "INVALID_ARGUMENT", [&](Side s) { return GatherRows<T>{x.view(s, 3, 4), bad.view(s), x.view(s, 3, 4)}; });
  h.both_refuse<GatherRowsBackward<T>>(typed<T>("gather_rows_backward") + " of a bad row", "INVALID_ARGUMENT", [&](Side s) { return GatherRowsBackward<T>{x.view(s, 3, 4), bad.view(s), x.view(s, 3, 4)}; });
  if (sizeof(T) == 4 && h.timed()) test(8192, 8192, 16384, 2048, true), test(8192, 8192, 16384, 4096, true);
}

template <class T> void position_embedding(Harness& h) {
  const auto test = [&](const std::vector<int32_t>& sides, int32_t side, int32_t merge, size_t width, bool timing) {
    size_t patches = 0;
    for (size_t i = 0; i < sides.size(); i += 3) patches += static_cast<size_t>(sides[i]) * static_cast<size_t>(sides[i + 1] * sides[i + 2]);
    const size_t rows = static_cast<size_t>(side * side);
    Array<int32_t> grids(sides);
    auto table = randoms<T>(rows * width, 1), x = randoms<T>(patches * width, 2), dX = randoms<T>(patches * width, 3), dTable = randoms<T>(rows * width, 4);
    const std::function<PositionEmbedding<T>(Side)> forward = [&](Side s) {
      return PositionEmbedding<T>{grids.view(s, sides.size() / 3, 3), table.view(s, rows, width), x.view(s, patches, width), merge};
    };
    const std::function<PositionEmbeddingBackward<T>(Side)> backward = [&](Side s) {
      return PositionEmbeddingBackward<T>{grids.view(s, sides.size() / 3, 3), dX.view(s, patches, width), dTable.view(s, rows, width), merge};
    };
    const std::string size = shape(patches, width);
    const double once = static_cast<double>(patches * width * sizeof(T));
    if (timing) {
      h.time<PositionEmbedding<T>>(typed<T>("position_embedding") + size, 2 * once, forward);
      h.time<PositionEmbeddingBackward<T>>(typed<T>("position_embedding_backward") + size, once + 2 * static_cast<double>(rows * width * sizeof(T)), backward);
      return;
    }
    h.on_both<PositionEmbedding<T>>(forward);
    h.close(typed<T>("position_embedding") + size, x, kTolerance<T>);
    h.on_both<PositionEmbeddingBackward<T>>(backward);
    h.close(typed<T>("position_embedding_backward") + size, dTable, 10 * kTolerance<T>);  // sums of many patches
    if (patches > 100) h.repeats<PositionEmbeddingBackward<T>, T>(typed<T>("position_embedding_backward") + size, dTable, backward);
  };
  test({}, 3, 2, 8, false), test({1, 1, 1}, 1, 1, 1, false), test({1, 4, 6, 2, 2, 2, 1, 8, 2}, 5, 2, 33, false), test({3, 8, 8, 1, 16, 12}, 6, 2, 64, false), test({1, 3, 3}, 4, 3, 2050, false);
  auto x = zeros<T>(48), table = zeros<T>(18);
  const auto refuse = [&](const char* what, std::vector<int32_t> sides, size_t rows, int32_t merge, const char* code) {
    Array<int32_t> grids(std::move(sides));
    h.both_refuse<PositionEmbedding<T>>(typed<T>("position_embedding") + what, code, [&](Side s) {
      return PositionEmbedding<T>{grids.view(s, 2, 3), table.view(s, rows, 2), x.view(s, 24, 2), merge};
    });
    h.both_refuse<PositionEmbeddingBackward<T>>(typed<T>("position_embedding_backward") + what, code, [&](Side s) {
      return PositionEmbeddingBackward<T>{grids.view(s, 2, 3), x.view(s, 24, 2), table.view(s, rows, 2), merge};
    });
  };
  refuse(" of odd sides", {1, 4, 4, 1, 3, 2}, 9, 2, "INVALID_ARGUMENT"), refuse(" of too many patches", {1, 4, 4, 3, 2, 2}, 9, 2, "INVALID_ARGUMENT");
  refuse(" of too few patches", {1, 4, 4, 1, 2, 2}, 9, 2, "INVALID_ARGUMENT"), refuse(" of merge 0", {1, 4, 4, 1, 4, 2}, 9, 0, "INVALID_ARGUMENT");
  refuse(" of a table that is no square", {1, 4, 4, 1, 4, 2}, 8, 2, "SHAPE_MISMATCH");
  if (sizeof(T) == 4 && h.timed()) test({1, 64, 64, 1, 32, 48, 4, 32, 32}, 48, 2, 1024, true), test({8, 64, 64}, 48, 2, 1152, true);
}

const Registered registered_embedding("embedding", [](Harness& h) { embedding<float>(h), embedding<double>(h), embedding<float, bf16>(h); });
const Registered registered_splice("visual_splice", [](Harness& h) { visual_splice<float>(h), visual_splice<double>(h); });
const Registered registered_positions("position_embedding", [](Harness& h) { position_embedding<float>(h), position_embedding<double>(h); });

}  // namespace
